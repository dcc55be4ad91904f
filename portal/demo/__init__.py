"""The demo organization, and a week of its emails."""
