"""What the layers above may wait for."""

from django.dispatch import Signal

# Sent inside the transaction that stored a stage's settings, with `settings`: the outbox lets go what waited for it.
smtp_settings_saved = Signal()

# Sent inside the transaction that deleted a stage's settings, with `stage`: what troubled their server is over.
smtp_settings_deleted = Signal()
