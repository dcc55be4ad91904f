"""The page of who gets email from a stage. The rules and changes are organization.recipient_policy's."""
