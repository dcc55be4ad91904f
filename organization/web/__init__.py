"""What the pages of all apps use of a request: members, stages, time zones."""
