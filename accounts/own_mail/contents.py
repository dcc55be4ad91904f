"""The contents of the portal's own emails, which are removed as soon as an email is finished."""

from __future__ import annotations

from django.db import models, transaction

from outbox.models import FINAL, Content, Message

_AT_ONCE = 200


class OwnMessage(models.Model):
    """One of the portal's own messages whose content is still stored."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, primary_key=True, related_name="+")

    def __str__(self) -> str:
        return f"Content of #{self.message_id}"


def remove_finished_contents() -> None:
    """Remove the contents of messages that are sent, failed or captured. What can't leave any more needs none."""
    finished = OwnMessage.objects.filter(message__status__in=FINAL).order_by("pk")
    while True:
        with transaction.atomic():
            numbers = list(finished.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[:_AT_ONCE])
            if not numbers:
                return
            Content.objects.filter(message__in=numbers).delete()
            OwnMessage.objects.filter(pk__in=numbers).delete()
