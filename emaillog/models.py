"""What the portal remembers about an inbox, and the actions on many emails."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from organization.models import App, Member, Stage
from outbox.bulk.checks import Act


class EmptiedInbox(models.Model):
    """An app's inbox in a stage shows no emails up to this number. The log keeps them."""

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+")
    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+")
    up_to = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "emptied inboxes"
        constraints = [models.UniqueConstraint(fields=["app", "stage"], name="inbox_emptied_once")]

    def __str__(self) -> str:
        return f"{self.app} in {self.stage}"


class ReadEmails(models.Model):
    """What a member has read in an app's inbox: all emails up to a number, and these above it."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="+")
    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+")
    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+")
    up_to = models.PositiveBigIntegerField(default=0)
    numbers = models.JSONField(default=list)

    class Meta:
        verbose_name_plural = "read emails"
        constraints = [models.UniqueConstraint(fields=["member", "app", "stage"], name="inbox_read_once")]

    def __str__(self) -> str:
        return f"{self.member}: {self.app} in {self.stage}"

    def is_read(self, number: int) -> bool:
        return number <= self.up_to or number in self.numbers


class BulkAction(models.Model):
    """What a person does about many emails at once, until the worker has carried it out (see emaillog.bulk)."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        FINISHED = "finished", "Finished"
        STOPPED = "stopped", "Stopped"

    act = models.CharField(max_length=10, choices=Act)
    # Who: a member, whose permissions are asked again while it runs. An operator, who has all of them, has no row.
    member = models.ForeignKey(Member, on_delete=models.CASCADE, null=True, related_name="+")
    by = models.CharField(max_length=360)
    # Which emails: the log's query, as it was understood at this time in this zone, and none that came later.
    query = models.TextField(blank=True)
    zone = models.CharField(max_length=60)
    started = models.DateTimeField(db_default=Now())
    up_to = models.PositiveBigIntegerField()
    # How: resend to those too who got it; leave out codes that were accepted earlier; how cancelled emails end.
    everybody = models.BooleanField(default=False)
    codes_before = models.DateTimeField(null=True)
    words = models.CharField(max_length=600, blank=True)
    # How far it is. Emails up to this number are done or left out.
    position = models.PositiveBigIntegerField(default=0)
    matching = models.PositiveIntegerField()
    # Whether more match than were counted.
    more = models.BooleanField(default=False)
    done = models.PositiveIntegerField(default=0)
    left_out = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING, db_index=True)
    ended = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=360, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.get_act_display()} by {self.by}"

    @property
    def left_out_count(self) -> int:
        return sum(self.left_out.values())

    @property
    def percent(self) -> int:
        """How much of it is done, as far as that is known."""
        if self.state == self.State.FINISHED:
            return 100
        return min(99, 100 * (self.done + self.left_out_count) // max(1, self.matching))
