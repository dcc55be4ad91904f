"""Servers beside the SMTP server: token servers, an OpenID provider, and ones that misbehave."""
