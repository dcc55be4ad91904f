"""What the portal remembers about an inbox: what was hidden from it, and what each member has read."""

from __future__ import annotations

from django.db import models

from organization.models import App, Member, Stage


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
