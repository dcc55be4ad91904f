"""Signals that the layers above can receive."""

from django.dispatch import Signal

# Sent inside the transaction that stored a new app, stage, member, role or grant, with it as `instance`; the sender is its model.
instance_created = Signal()

# Sent inside the transaction, before fewer people may get email from a `stage`: receivers keep hand-over waiting until it ends.
stage_narrowing = Signal()

# Asks how many emails of a `stage` are being sent to recipients whom its `policy` (a PolicyState) excludes.
count_stage_leaving = Signal()
