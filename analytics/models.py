"""The roll-ups that Analytics shows, so that no page ever counts messages."""

from __future__ import annotations

from django.db import models

from organization.models import App, Stage


class Counts(models.Model):
    """Mails by the time at which they were accepted, and tries to reach one address by the time at which they were made."""

    accepted = models.PositiveIntegerField(default=0)
    to_test_list = models.PositiveIntegerField(default=0)
    sent = models.PositiveIntegerField(default=0)
    deferred = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    unknown = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class HourlyCount(Counts):
    """What happened to an app's mail in a stage in one hour, for Analytics (see rollup). It outlives the mail it counts."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField(help_text="When it begins.")
    held = models.PositiveIntegerField(default=0)  # the most at one time of the hour

    class Meta:
        db_table = "outbox_hourlycount"
        constraints = [models.UniqueConstraint(fields=["stage", "hour", "app"], name="hourly_count_once")]

    def __str__(self) -> str:
        return f"{self.app} in {self.stage}, {self.hour:%Y-%m-%d %H:%M}"


class HourlyLatency(models.Model):
    """How long mail that was sent in that hour had been on its way: so many addresses in this bucket (see latency)."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField()
    bucket = models.PositiveSmallIntegerField()
    sent = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "outbox_hourlylatency"
        verbose_name_plural = "hourly latencies"
        constraints = [models.UniqueConstraint(fields=["stage", "hour", "app", "bucket"], name="hourly_latency_once")]

    def __str__(self) -> str:
        return f"{self.app} in {self.stage}, {self.hour:%Y-%m-%d %H:%M}, bucket {self.bucket}"


class HourlyCause(models.Model):
    """Why tries of that hour didn't end as sent. `code` names the explanation (see causes)."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField()
    code = models.CharField(max_length=40)
    deferred = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    unknown = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "outbox_hourlycause"
        constraints = [models.UniqueConstraint(fields=["stage", "hour", "app", "code"], name="hourly_cause_once")]

    def __str__(self) -> str:
        return f"{self.app} in {self.stage}, {self.hour:%Y-%m-%d %H:%M}, {self.code}"


class StageCount(Counts):
    """HourlyCount of a stage's apps together, so that whoever sees all of them reads one row per hour, not one per app."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField()
    held = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "outbox_stagecount"
        constraints = [models.UniqueConstraint(fields=["stage", "hour"], name="stage_count_once")]

    def __str__(self) -> str:
        return f"{self.stage}, {self.hour:%Y-%m-%d %H:%M}"


class StageLatency(models.Model):
    """HourlyLatency of a stage's apps together."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField()
    bucket = models.PositiveSmallIntegerField()
    sent = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "outbox_stagelatency"
        verbose_name_plural = "stage latencies"
        constraints = [models.UniqueConstraint(fields=["stage", "hour", "bucket"], name="stage_latency_once")]

    def __str__(self) -> str:
        return f"{self.stage}, {self.hour:%Y-%m-%d %H:%M}, bucket {self.bucket}"


class DailyCount(Counts):
    """HourlyCount of a day's hours together, for the sums per app. `day` is one of UTC. Held mail doesn't add up over hours."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()

    class Meta:
        db_table = "outbox_dailycount"
        constraints = [models.UniqueConstraint(fields=["stage", "day", "app"], name="daily_count_once")]

    def __str__(self) -> str:
        return f"{self.app} in {self.stage}, {self.day}"


class DailyLatency(models.Model):
    """HourlyLatency of a day's hours together."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()
    bucket = models.PositiveSmallIntegerField()
    sent = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "outbox_dailylatency"
        verbose_name_plural = "daily latencies"
        constraints = [models.UniqueConstraint(fields=["stage", "day", "app", "bucket"], name="daily_latency_once")]

    def __str__(self) -> str:
        return f"{self.app} in {self.stage}, {self.day}, bucket {self.bucket}"


class RollUpPosition(models.Model):
    """How far mails, or tries, are counted: up to the row with the number `last`."""

    counted = models.CharField(max_length=10, primary_key=True)
    last = models.PositiveBigIntegerField(default=0)

    class Meta:
        db_table = "outbox_rollupposition"

    def __str__(self) -> str:
        return f"{self.counted}: {self.last}"
