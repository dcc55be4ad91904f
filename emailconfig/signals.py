"""Signals that the layers above can receive."""

from django.dispatch import Signal

# Sent inside the transaction that stored a stage's settings, with `settings`. The outbox then releases the messages that
# waited for them.
smtp_settings_saved = Signal()

# Sent inside the transaction that deleted a stage's settings, with `stage`. Failures of that server no longer
# matter.
smtp_settings_deleted = Signal()
