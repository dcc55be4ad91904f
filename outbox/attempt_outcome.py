"""What the server's answer about one recipient means. Separate from the models, for code that needs no database."""

from django.db.models import TextChoices


class AttemptOutcome(TextChoices):
    SENT = "sent", "Accepted by the server"
    DEFERRED = "deferred", "Deferred, will be tried again"
    FAILED = "failed", "Rejected"
    UNKNOWN = "unknown", "Outcome unknown, will be tried again"
