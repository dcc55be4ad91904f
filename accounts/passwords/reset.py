"""A forgotten password: what a visitor asks for is noted, and a job answers it.

The page does the same work for every address, so that neither its answer nor its time tells whether a member has it.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import models, transaction
from django.db.models.functions import Now

from accounts.links import Purpose
from accounts.own_mail.sending import why_no_email
from accounts.sent_links import send_link
from common.addresses import ADDRESS_MAX_LENGTH
from common.clock import database_now
from organization.access import Operator
from organization.models import Member

# As the audit trail names them. It isn't known who asks.
VISITOR = Operator("a visitor (sign-in page)")
# A member gets one email in this time, however often a new password is asked for.
PAUSE = timedelta(minutes=5)
# While no job runs, no more than these wait.
WAITING_AT_MOST = 1000


class ResetRequest(models.Model):
    """An address for which a visitor asked for a new password. It is removed when it is answered."""

    address = models.CharField(max_length=ADDRESS_MAX_LENGTH, unique=True)
    created = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.address


def request_reset(address: str) -> None:
    """Note that a new password is asked for the account with this address, which may not exist."""
    if ResetRequest.objects.count() < WAITING_AT_MOST:
        ResetRequest.objects.get_or_create(address=address.lower())


def answer_requests() -> None:
    """Send a link to each member whose address was entered. Other addresses get nothing."""
    if ResetRequest.objects.exists() and why_no_email():
        ResetRequest.objects.all().delete()
    while _answer_one():
        pass


def _answer_one() -> bool:
    """Return whether there was one to answer."""
    with transaction.atomic():
        request = ResetRequest.objects.select_for_update(skip_locked=True).order_by("pk").first()
        if request is None:
            return False
        request.delete()
        member = Member.objects.filter(email__iexact=request.address, is_active=True).first()
        if member is not None and member.has_usable_password() and not _was_asked_before(member):
            send_link(member, Purpose.PASSWORD_RESET, VISITOR)
        return True


def _was_asked_before(member: Member) -> bool:
    links = member.account_links.filter(purpose=Purpose.PASSWORD_RESET, created__gt=database_now() - PAUSE)
    return links.filter(used=None).exists()
