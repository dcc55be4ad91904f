"""How a member is added: by an invitation, through which they choose their password."""
