"""What the workers share: each stage's back-off, the living workers, and the connections in use."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models.functions import Now

from emailconfig.connection import ConnectionFailure
from organization.models import Stage


class StageBackoff(models.Model):
    """A stage's failure with its server. While it lasts, the stage's messages wait and one connection probes."""

    stage = models.OneToOneField(Stage, on_delete=models.CASCADE, primary_key=True, related_name="backoff")
    failures = models.PositiveIntegerField(default=0)
    paused = models.BooleanField(default=False, help_text="The server refused our sign-in or certificate: a person must act.")
    retry_at = models.DateTimeField(null=True)
    since = models.DateTimeField(null=True)
    # How many messages the stage's limit lets go, and when that number was computed (see rate_limit).
    allowance = models.FloatField(default=0)
    allowance_at = models.DateTimeField(null=True)
    # How many messages the server deferred at their first try with none accepted in between, and since when it does that.
    deferrals = models.PositiveIntegerField(default=0, db_default=0)
    deferring_since = models.DateTimeField(null=True)
    step = models.CharField(max_length=20, blank=True)
    code = models.CharField(max_length=40, blank=True, help_text="Of the explanation (emailconfig.connection.explanations).")
    evidence = models.TextField(blank=True)
    masked_evidence = models.TextField(
        blank=True, default="", db_default="", help_text="For those who may not see whom mail is for."
    )

    class Meta:
        db_table = "outbox_stagequeue"

    @property
    def failure(self) -> ConnectionFailure:
        """The failure for which the stage's messages wait, while there are `failures`."""
        return ConnectionFailure(self.step, self.code, self.evidence)

    @property
    def for_others(self) -> str:
        """The next step for members who may not change the stage's settings."""
        if self.paused:
            return f"Ask an email administrator to fix the settings of {self.stage}."
        return "The portal tries again automatically."

    def __str__(self) -> str:
        return f"Back-off of {self.stage}"


class Worker(models.Model):
    """A worker process, which reports every few seconds that it is alive."""

    STALE_AFTER = timedelta(seconds=15)

    name = models.CharField(max_length=100, primary_key=True)
    seen = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "outbox_worker"

    def __str__(self) -> str:
        return self.name


class ConnectionSlot(models.Model):
    """One connection of a worker to a stage's server. All workers together never have more than the stage allows."""

    worker = models.ForeignKey(Worker, on_delete=models.CASCADE, related_name="+")
    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+")
    # While the server doesn't answer: since when, and which email it was asked about.
    silent_since = models.DateTimeField(null=True)
    silent_about = models.PositiveBigIntegerField(null=True)

    class Meta:
        db_table = "outbox_connection"

    def __str__(self) -> str:
        return f"{self.worker} to {self.stage}"
