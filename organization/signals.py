"""What the layers above wait for. Sent inside the transaction that stored it, by the services alone."""

from django.dispatch import Signal

# Sent with `app`.
app_created = Signal()

# Sent with `stage`.
stage_created = Signal()
