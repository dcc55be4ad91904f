"""The roll-ups that Analytics shows, so that no page ever counts messages.

Each model combines a place and time (an app's hour, a stage's hour, an app's day) with the values that are counted.
"""

from __future__ import annotations

from django.db import models

from organization.models import App, Stage


class AppHour(models.Model):
    """One hour of an app's messages in a stage."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField(help_text="When it begins.")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.app} in {self.stage}, {self.hour:%Y-%m-%d %H:%M}"


class StageHour(models.Model):
    """One hour of all apps of a stage together. A member who sees all of them reads one row per hour, not one per app."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField(help_text="When it begins.")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.stage}, {self.hour:%Y-%m-%d %H:%M}"


class AppDay(models.Model):
    """All hours of a day together, for the sums per app. `day` is a day in UTC."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.app} in {self.stage}, {self.day}"


class Counts(models.Model):
    """Messages by the time of their acceptance, and tries to reach one address by the time of the try."""

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
    """The largest number of messages that were held at the same time in the hour. Hours can't be added up."""

    held = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True


class Latency(models.Model):
    """The time to send: how many of the addresses that were sent to are in this bucket (see latency)."""

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


class CountedRule(models.TextChoices):
    """Why an address got email, as the guarantee of a stage counts it (see guarantee.rules).

    Email to the recipients that apps gave is told apart by whether the app could write to them: the stage's policy is *as apps
    ask* and the app's test list Inactive.
    """

    TEST_LIST = "list", "Test list"
    ALLOWED = "allowed", "Allowed address"
    RELEASED = "released", "Released by a person"
    FORWARDED = "forwarded", "Forwarded by a person"
    OPEN = "open", "Recipient that the app gave, while it could write to anyone"
    CLOSING = "closing", "Recipient that the app gave, on the wire when it was closed"
    CLOSED = "closed", "Recipient that the app gave, while it was closed"


class RuleCounts(models.Model):
    """Addresses that the server accepted email for, and tries after which nobody knows whether it arrived."""

    rule = models.CharField(max_length=10, choices=CountedRule)
    recipients = models.PositiveIntegerField(default=0)
    unknown = models.PositiveIntegerField(default=0)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{super().__str__()}, {self.rule}"


class CountedTries(models.Model):
    """The numbers of the first and the last try that were counted, so that a count leads to its rows."""

    first_try = models.PositiveBigIntegerField(default=0)
    last_try = models.PositiveBigIntegerField(default=0)

    class Meta:
        abstract = True


class HourlyCount(Counts, PeakHeld, AppHour):
    """Counted from the messages themselves (see rollup). The counts stay when the messages are removed."""

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


class HourlyRuleCount(RuleCounts, CountedTries, AppHour):
    class Meta:
        constraints = [models.UniqueConstraint(fields=["stage", "hour", "app", "rule"], name="hourly_rule_count_once")]


class StageRuleCount(RuleCounts, StageHour):
    class Meta:
        constraints = [models.UniqueConstraint(fields=["stage", "hour", "rule"], name="stage_rule_count_once")]


class DailyRuleCount(RuleCounts, CountedTries, AppDay):
    class Meta:
        constraints = [models.UniqueConstraint(fields=["stage", "day", "app", "rule"], name="daily_rule_count_once")]


class RollUpPosition(models.Model):
    """The number of the last row that was counted: of messages, of tries, and of captures at hand-over."""

    counted = models.CharField(max_length=10, primary_key=True)
    last = models.PositiveBigIntegerField(default=0)

    class Meta:
        db_table = "outbox_rollupposition"

    def __str__(self) -> str:
        return f"{self.counted}: {self.last}"
