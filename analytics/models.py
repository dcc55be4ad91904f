"""The roll-ups that Analytics shows, so that no page ever counts messages.

Each is put together from where and when (an app's hour, a stage's hour, an app's day) and what is counted.
"""

from __future__ import annotations

from django.db import models

from organization.models import App, Stage


class AppHour(models.Model):
    """One hour of an app's mail in a stage."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField(help_text="When it begins.")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.app} in {self.stage}, {self.hour:%Y-%m-%d %H:%M}"


class StageHour(models.Model):
    """One hour of a stage's apps together: who sees all of them reads one row per hour, not one per app."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField(help_text="When it begins.")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.stage}, {self.hour:%Y-%m-%d %H:%M}"


class AppDay(models.Model):
    """A day's hours together, for the sums per app. `day` is one of UTC."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.app} in {self.stage}, {self.day}"


class Counts(models.Model):
    """Messages by the time at which they were accepted, and tries to reach one address by the time at which they were made."""

    accepted = models.PositiveIntegerField(default=0)
    to_test_list = models.PositiveIntegerField(default=0)
    # Recipients by the rule of the route that the message had when it was counted.
    captured = models.PositiveIntegerField(default=0, db_default=0)
    allowed = models.PositiveIntegerField(default=0, db_default=0)
    sent = models.PositiveIntegerField(default=0)
    deferred = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    unknown = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class PeakHeld(models.Model):
    """The most messages that were held at one time of the hour. It doesn't add up over hours."""

    held = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class Latency(models.Model):
    """How long what was sent then had been on its way: so many addresses in this bucket (see latency)."""

    bucket = models.PositiveSmallIntegerField()
    sent = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{super().__str__()}, bucket {self.bucket}"


class Cause(models.Model):
    """Why tries didn't end as sent. `code` names the explanation (see causes)."""

    code = models.CharField(max_length=40)
    deferred = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    unknown = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{super().__str__()}, {self.code}"


class HourlyCount(Counts, PeakHeld, AppHour):
    """Counted from the messages themselves (see rollup). It outlives the messages that it counts."""

    class Meta:
        db_table = "outbox_hourlycount"
        constraints = [models.UniqueConstraint(fields=["stage", "hour", "app"], name="hourly_count_once")]


class HourlyLatency(Latency, AppHour):
    class Meta:
        db_table = "outbox_hourlylatency"
        verbose_name_plural = "hourly latencies"
        constraints = [models.UniqueConstraint(fields=["stage", "hour", "app", "bucket"], name="hourly_latency_once")]


class HourlyCause(Cause, AppHour):
    class Meta:
        db_table = "outbox_hourlycause"
        constraints = [models.UniqueConstraint(fields=["stage", "hour", "app", "code"], name="hourly_cause_once")]


class StageCount(Counts, PeakHeld, StageHour):
    class Meta:
        db_table = "outbox_stagecount"
        constraints = [models.UniqueConstraint(fields=["stage", "hour"], name="stage_count_once")]


class StageLatency(Latency, StageHour):
    class Meta:
        db_table = "outbox_stagelatency"
        verbose_name_plural = "stage latencies"
        constraints = [models.UniqueConstraint(fields=["stage", "hour", "bucket"], name="stage_latency_once")]


class DailyCount(Counts, AppDay):
    class Meta:
        db_table = "outbox_dailycount"
        constraints = [models.UniqueConstraint(fields=["stage", "day", "app"], name="daily_count_once")]


class DailyLatency(Latency, AppDay):
    class Meta:
        db_table = "outbox_dailylatency"
        verbose_name_plural = "daily latencies"
        constraints = [models.UniqueConstraint(fields=["stage", "day", "app", "bucket"], name="daily_latency_once")]


class RollUpPosition(models.Model):
    """How far messages, or tries, are counted: up to the row with the number `last`."""

    counted = models.CharField(max_length=10, primary_key=True)
    last = models.PositiveBigIntegerField(default=0)

    class Meta:
        db_table = "outbox_rollupposition"

    def __str__(self) -> str:
        return f"{self.counted}: {self.last}"
