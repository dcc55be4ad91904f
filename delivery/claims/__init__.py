"""Claim messages for delivery, and capture those that a narrower policy keeps in."""
