"""The running gateways."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models.functions import Now


class Gateway(models.Model):
    """A gateway process, which reports every few seconds that it is running."""

    STALE_AFTER = timedelta(seconds=15)

    name = models.CharField(max_length=100, primary_key=True)
    seen = models.DateTimeField(db_default=Now())
    accepting = models.BooleanField(default=True, help_text="Emails can be stored.")
    warning = models.TextField(blank=True, help_text="What the operator should see to, such as a certificate that ends soon.")

    class Meta:
        db_table = "outbox_gateway"

    def __str__(self) -> str:
        return self.name
