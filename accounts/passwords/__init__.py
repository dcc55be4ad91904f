"""A member's password: how it is changed."""
