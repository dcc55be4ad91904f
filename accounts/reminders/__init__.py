"""Emails to members before something ends: a test list's time, a wider policy, a credential."""
