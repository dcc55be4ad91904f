"""Where a member is signed in."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from organization.models import Member


class MemberSession(models.Model):
    """One browser in which a member is signed in. When this row goes, the session is over."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="sessions")
    # Of what Django compares with the member: a new password or a deactivation ends the session without deleting this row.
    auth_digest = models.CharField(max_length=64, editable=False)
    device = models.CharField(max_length=60)
    address = models.CharField(max_length=45, blank=True)
    started = models.DateTimeField(default=timezone.now)
    last_used = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "session"
        ordering = ["-last_used", "-pk"]

    def __str__(self) -> str:
        return f"{self.device} at {self.address or 'an unknown address'}"
