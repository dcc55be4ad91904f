"""The header of an email: how it is read, and which one leaves."""
