"""Who may do what: members, organization roles and grants, as pages and rules."""
