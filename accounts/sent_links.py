"""Make a link for a member, and bring it to them: by email, or by the hands of the one who made it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction

from accounts.links import NewLink, Purpose, make_link
from accounts.own_mail.sending import send_to_member, why_no_email
from organization import audit
from organization.access import Actor
from organization.models import Member
from outbox.exceptions import SubmissionRefused

_MADE = {
    Purpose.INVITATION: audit.Operation.INVITE,
    Purpose.PASSWORD_RESET: audit.Operation.REQUEST_PASSWORD_RESET,
}
_SUBJECTS = {
    Purpose.INVITATION: "Your invitation to the email portal of {}",
    Purpose.PASSWORD_RESET: "Choose a new password for the email portal of {}",
}


@dataclass(frozen=True)
class SentLink:
    """What became of a new link.

    `url` is empty if an email with it is on its way. Else it is shown to its maker, once, and `why_shown` says why.
    """

    member: Member
    purpose: Purpose
    ends: datetime
    url: str = ""
    why_shown: str = ""


def send_link(member: Member, purpose: Purpose, actor: Actor) -> SentLink:
    """Email a new link to the member. Where that is impossible, return it."""
    with transaction.atomic():
        link = make_link(member, purpose)
        why_shown = why_no_email() or _email(member, purpose, link)
        after = {"email": member.email, "ends": link.ends.isoformat(), "handed_over": "in person" if why_shown else "by email"}
        audit.record(actor, _MADE[purpose], member, after=after)
    return SentLink(member, purpose, link.ends, link.url if why_shown else "", why_shown)


def _email(member: Member, purpose: Purpose, link: NewLink) -> str:
    """Return why the email was refused; empty if it was accepted."""
    subject = _SUBJECTS[purpose].format(settings.ORGANIZATION_NAME)
    try:
        send_to_member(member, subject, purpose.value, {"url": link.url})
    except SubmissionRefused as refused:
        return f"The email to {member.email} was refused: {refused.text}"
    return ""
