"""Signals that the layers above can receive."""

from django.dispatch import Signal

# Sent inside the transaction that stored a new app, stage, member, role or grant, with it as `instance`; the sender is its model.
instance_created = Signal()
