"""What is asked of each message before an act on many: the permission, its state, and whether the act would do anything."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from django.db import models

from emailconfig.models import SmtpSettings
from organization.access import Actor, Scope, allowed
from organization.models import App, Stage
from organization.permissions import Permission
from outbox import actions
from outbox.holding.held_mail import permissions_for
from outbox.models import ASKING_REASONS, LIST_REASONS, WAITING, Content, Message, Pause, Recipient, Status

# Subjects of one-time codes and links, which are of no use after minutes. A subject is all that is looked at.
_ONE_TIME = re.compile(
    r"\b(one[- ]?time|otp|2fa|mfa|passcode|(verification|security|confirmation|access|login|sign[- ]?in) (code|link)"
    r"|your code|code is|magic link|verify your|password reset|reset (your|the) password)\b",
    re.IGNORECASE,
)
_NOT_ALLOWED = "You don't have the permission for emails of this app in this stage."
_NOT_HELD = "The email isn't held."
_PAUSED = "A person paused the emails. Resume them first."
_NO_SETTINGS = "The stage has no SMTP settings, so there is nowhere to send it."
_NOT_RELEASABLE = "It is held for a reason that this doesn't end."
_RESENT = "It was resent already."
_NOBODY_MISSED_IT = "Nobody missed it: no recipient failed."
_NO_CONTENT = "Its content isn't kept any more."
_OLD_CODE = "It looks like a one-time code or link, and is too old to be of use."
_DUE = "It is due already."


class Act(models.TextChoices):
    RETRY = "retry", "Retry now"
    CANCEL = "cancel", "Cancel"
    RESEND = "resend", "Resend"
    RELEASE = "release", "Release held mail"
    DISCARD = "discard", "Discard held mail"


# They can't be undone.
ENDING = (Act.CANCEL, Act.DISCARD)
# They put messages into the queue.
QUEUEING = (Act.RETRY, Act.RESEND, Act.RELEASE)


@dataclass(frozen=True)
class Options:
    """`everybody`: resend to those too who got it. `codes_before`: one-time codes that were accepted earlier aren't resent.

    `words`: how messages end that are cancelled or discarded.
    """

    everybody: bool = False
    codes_before: datetime | None = None
    words: str = ""


def is_one_time_code(subject: str) -> bool:
    return _ONE_TIME.search(subject) is not None


class Checks:
    """Why an act leaves a message out. What depends on the app and stage is asked once for each of them."""

    def __init__(self, act: Act, actor: Actor, options: Options, now: datetime) -> None:
        self.act, self.options, self.now = act, options, now
        self._is_allowed = cache(lambda app, stage: _is_allowed(act, actor, app, stage))
        self._is_configured = cache(lambda stage_id: SmtpSettings.objects.filter(stage=stage_id).exists())
        self._paused = cache(lambda: frozenset(Pause.objects.values_list("app_id", "stage_id")))

    def why_not(self, messages: Collection[Message]) -> dict[int, str]:
        """By number, the reason in words; empty where the act may change the message. Recipients should be prefetched."""
        kept = self._with_content(messages)
        return {message.pk: self._why_not(message, has_content=message.pk in kept) for message in messages}

    def _why_not(self, message: Message, *, has_content: bool) -> str:
        if not self._is_allowed(message.app, message.stage):
            return _NOT_ALLOWED
        if self.act == Act.RETRY:
            return self._why_not_retry(message)
        if self.act == Act.CANCEL:
            return actions.why_not_cancel(message)
        if self.act == Act.RESEND:
            return actions.why_not_resend(message) or self._why_not_resend(message, has_content=has_content)
        if message.status != Status.HELD:
            return _NOT_HELD
        return self._why_not_release(message) if self.act == Act.RELEASE else ""

    def _why_not_retry(self, message: Message) -> str:
        if message.status not in WAITING:
            return actions.why_not_retry(message)
        return "" if any(is_later(recipient, self.now) for recipient in message.recipients.all()) else _DUE

    def _why_not_resend(self, message: Message, *, has_content: bool) -> str:
        if message.resent_as:
            return _RESENT
        missed = any(recipient.status == Status.FAILED for recipient in message.recipients.all())
        if not self.options.everybody and not missed:
            return _NOBODY_MISSED_IT
        if not has_content:
            return _NO_CONTENT
        before = self.options.codes_before
        return _OLD_CODE if before and message.created < before and is_one_time_code(message.subject) else ""

    def _why_not_release(self, message: Message) -> str:
        if message.hold_reason not in (*ASKING_REASONS, *LIST_REASONS):
            return _NOT_RELEASABLE
        if {(message.app_id, message.stage_id), (None, message.stage_id)} & self._paused():
            return _PAUSED
        return "" if self._is_configured(message.stage_id) else _NO_SETTINGS

    def _with_content(self, messages: Collection[Message]) -> set[int]:
        if self.act != Act.RESEND:
            return set()
        return set(Content.objects.filter(pk__in=[message.pk for message in messages]).values_list("pk", flat=True))


def is_later(recipient: Recipient, now: datetime) -> bool:
    """Whether the recipient waits for a next try."""
    return recipient.status in WAITING and recipient.due > now


def _is_allowed(act: Act, actor: Actor, app: App, stage: Stage) -> bool:
    place = Scope(app, stage)
    needed = permissions_for(place) if act in (Act.RELEASE, Act.DISCARD) else (Permission.RESEND_MAIL,)
    return allowed(actor, place, *needed)
