"""Signals that the layers above can receive."""

from django.dispatch import Signal

# Sent inside the transaction that stored a stage's settings, with `settings`. The outbox then releases the test mail
# that waited for them.
smtp_settings_saved = Signal()

# Sent inside the transaction that deleted a stage's settings, with `stage`. Failures of that server no longer
# matter.
smtp_settings_deleted = Signal()

# Asks what a person should hear about the held messages of a `stage`. A receiver returns a sentence, or nothing.
say_what_is_held = Signal()
