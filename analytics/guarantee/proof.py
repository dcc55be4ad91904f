"""Prove it now: an app's email to an address that can't exist, and where it stopped.

It is submitted like any email. `.invalid` is a domain that no server has (RFC 2606). Should the stage have been opened in this
very moment, the email is taken back before it is accepted.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.db import transaction
from django.urls import reverse

from emailconfig.services import settings_of
from organization import audit
from organization.access import Actor, Scope, require
from organization.models import App, Stage
from organization.permissions import Permission
from organization.recipient_policy.policy import RecipientPolicy
from organization.recipient_policy.reading import policy_of
from outbox.access.visibility import LogAccess
from outbox.exceptions import SubmissionRefused
from outbox.models import Message, Source, Status
from outbox.submission import Envelope, new_message_id, submit
from testlists.models import TestList

_DOMAIN = "guarantee.invalid"
_OPEN = "{} could write to anyone from {}, so nothing was sent. First choose a narrower policy, or set its test list to Active."


class Stop(NamedTuple):
    """Where the email of a proof stopped. `address`: the impossible one. `people`: who is to get it in its place."""

    message: Message
    address: str
    people: Sequence[str]
    url: str

    @property
    def is_captured(self) -> bool:
        return not self.people and self.message.status == Status.CAPTURED


def stop_of(message: Message, access: LogAccess) -> Stop:
    mask = access.mask(message)
    recipients = message.recipients.exclude(status=Status.CAPTURED).values_list("address", flat=True)
    url = reverse("email-log-message", args=[access.stage.key, message.pk])
    return Stop(message, mask.address(message.requested[0]), [mask.address(address) for address in recipients], url)


def provable_apps(stage: Stage, apps: list[App], now: datetime) -> list[App]:
    """The apps whose email can't reach an address that is neither listed nor allowed."""
    if policy_of(stage).policy != RecipientPolicy.AS_APPS_ASK:
        return [app for app in apps if not app.archived]
    active = {row.app_id for row in TestList.objects.filter(stage=stage, active=True) if row.is_active(now)}
    return [app for app in apps if not app.archived and app.pk in active]


def prove(stage: Stage, app: App, actor: Actor) -> Message:
    """Submit the email. Raises PermissionDenied, and ValidationError when it could leave or isn't accepted: nothing is stored."""
    require(actor, Scope(stage=stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    address = f"nobody-{secrets.token_hex(6)}@{_DOMAIN}"
    settings = settings_of(stage)
    sender = settings.sender_address if settings else f"no-reply@{_DOMAIN}"
    with transaction.atomic():
        try:
            message = submit(app, stage, Envelope(sender, [address]), _content(stage, sender, address), via=Source.PORTAL)
        except SubmissionRefused as refused:
            raise ValidationError(refused.text) from refused
        if message.recipients.filter(address=address).exclude(status=Status.CAPTURED).exists():
            raise ValidationError(_OPEN.format(app, stage))
        after = {"what": "proof of the guarantee", "to": address, "route": message.get_route_display()}
        audit.record(actor, audit.Operation.SEND_TEST_MESSAGE, message, after=after)
    return message


def _content(stage: Stage, sender: str, address: str) -> bytes:
    text = (
        f"This email was written to {address}, which can't exist, to show where email of {stage.name} stops.\n"
        "If you are on the test list, it came to you in place of that address. There is nothing to do.\n"
    )
    headers = {"Message-ID": new_message_id(sender)}
    return EmailMessage(f"Proof of the guarantee of {stage.name}", text, sender, [address], headers=headers).message().as_bytes()
