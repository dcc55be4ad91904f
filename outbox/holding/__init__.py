"""Held messages: pauses, and the question before held messages are sent."""
