"""Write one of the portal's own emails to a member, and submit it."""

from __future__ import annotations

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string

from accounts.own_mail.contents import OwnMessage
from common.addresses import NamedAddress
from emailconfig.services import settings_of
from organization.models import App, Member, Stage
from organization.recipient_policy.policy import RecipientPolicy
from organization.recipient_policy.reading import policy_of
from outbox.models import Message, Source
from outbox.submission import Envelope, new_message_id, submit

_APP_NAME = "Portal"
# Programs that answer emails automatically don't answer these (RFC 3834).
_HEADERS = {"Auto-Submitted": "auto-generated"}


def why_no_email() -> str:
    """Why the portal can't send an email of its own now, in words; empty when it can."""
    if not settings.PORTAL_STAGE:
        return "The portal sends no emails of its own, because the setting PORTAL_STAGE is empty."
    stage = Stage.objects.filter(key=settings.PORTAL_STAGE).first()
    if stage is None:
        return f"The setting PORTAL_STAGE is “{settings.PORTAL_STAGE}”, and there is no such stage."
    if stage.archived:
        return f"The portal sends its own emails through {stage}, which is archived."
    if settings_of(stage) is None:
        return f"The portal sends its own emails through {stage}, which has no SMTP settings yet."
    if policy_of(stage).policy == RecipientPolicy.NOBODY:
        return f"The portal sends its own emails through {stage}, which captures all email."
    return ""


def send_to_member(member: Member, subject: str, template: str, context: dict[str, object]) -> Message:
    """Submit an email to the member. Ask why_no_email() first. Raises SubmissionRefused."""
    stage = Stage.objects.get(key=settings.PORTAL_STAGE)
    smtp_settings = settings_of(stage)
    assert smtp_settings is not None
    sender = NamedAddress(smtp_settings.sender_address, smtp_settings.sender_name)
    words = {**context, "member": member, "organization_name": settings.ORGANIZATION_NAME, "portal_url": settings.PORTAL_URL}
    text = render_to_string(f"accounts/own_mail/{template}.txt", words)
    headers = {**_HEADERS, "Message-ID": new_message_id(sender.email)}
    mail = EmailMessage(subject, text, str(sender), [member.email], headers=headers)
    with transaction.atomic():
        envelope = Envelope(sender.email, [member.email])
        message = submit(_built_in_app(), stage, envelope, mail.message().as_bytes(), via=Source.OWN)
        OwnMessage.objects.create(message=message)
    return message


def _built_in_app() -> App:
    """The app that the emails belong to. It is made with the first of them, and without a test list."""
    app, _ = App.objects.get_or_create(key=App.BUILT_IN_KEY, defaults={"name": _APP_NAME, "version": 1})
    return app
