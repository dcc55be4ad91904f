"""Links that let a member choose a password: in an invitation, and after a forgotten one.

A link works once and for a day. It works only for the account as it was when the link was made: another address, another
password or a deactivation ends it. Only the SHA-256 of its token is stored, which is enough for 256 random bits.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import models, transaction
from django.db.models.functions import Now

from accounts.exceptions import InvalidLink
from common.clock import database_now
from organization import audit
from organization.installation import portal_url
from organization.members import choose_password
from organization.models import Member

LIFETIME = timedelta(days=1)


class Purpose(models.TextChoices):
    INVITATION = "invitation", "Invitation"
    PASSWORD_RESET = "password-reset", "Password reset"


_DONE = {
    Purpose.INVITATION: audit.Operation.ACCEPT_INVITATION,
    Purpose.PASSWORD_RESET: audit.Operation.RESET_PASSWORD,
}
# The name of the page that each link leads to.
_PAGES = {Purpose.INVITATION: "invitation", Purpose.PASSWORD_RESET: "password-reset-link"}


class AccountLink(models.Model):
    """A link that was made for a member. A newer one takes the place of those that weren't used."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="account_links")
    purpose = models.CharField(max_length=20, choices=Purpose)
    token_hash = models.CharField(max_length=64, unique=True)
    # What the account was then (see _account_state).
    account_state = models.CharField(max_length=64)
    created = models.DateTimeField(db_default=Now())
    ends = models.DateTimeField()
    used = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.get_purpose_display()} of {self.member}"

    def works(self, member: Member, now: datetime) -> bool:
        """Whether it lets `member`, whose link it is, choose a password now."""
        return self.used is None and self.ends > now and member.is_active and self.account_state == _account_state(member)


class NewLink(NamedTuple):
    """A link as it is given to the member. It is stored nowhere."""

    url: str
    ends: datetime


def make_link(member: Member, purpose: Purpose) -> NewLink:
    """Make a link for the member, which ends all others that they could still use."""
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        stored = Member.objects.select_for_update(no_key=True).get(pk=member.pk)
        stored.account_links.filter(used=None).delete()
        ends = database_now() + LIFETIME
        AccountLink.objects.create(
            member=stored, purpose=purpose, token_hash=_hash(token), account_state=_account_state(stored), ends=ends
        )
    return NewLink(portal_url(_PAGES[purpose], token), ends)


def member_of_link(purpose: Purpose, token: str) -> Member | None:
    """Whose link it is; None unless it works now. It stays unused: programs that scan emails open links, too."""
    link = _find(purpose, token)
    return link.member if link and link.works(link.member, database_now()) else None


def use_link(purpose: Purpose, token: str, new_password: str) -> Member:
    """Store the password that the member chose. Raises InvalidLink if the link doesn't work any more."""
    with transaction.atomic():
        link = _find(purpose, token)
        if link is None:
            raise InvalidLink()
        member = Member.objects.select_for_update(no_key=True).get(pk=link.member_id)
        link = AccountLink.objects.filter(pk=link.pk).first()  # of two who use it at once, the second sees that it was used
        now = database_now()
        if link is None or not link.works(member, now):
            raise InvalidLink()
        AccountLink.objects.filter(pk=link.pk).update(used=now)
        return choose_password(member, new_password, _DONE[purpose])


def forget_links(before: datetime) -> None:
    """Remove links that ended before that time."""
    AccountLink.objects.filter(ends__lt=before).delete()


def _find(purpose: Purpose, token: str) -> AccountLink | None:
    return AccountLink.objects.select_related("member").filter(purpose=purpose, token_hash=_hash(token)).first()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _account_state(member: Member) -> str:
    """What a link is bound to, as one hash: the address, the password's hash, and how often sessions were ended."""
    return _hash("\n".join([member.email, member.password, str(member.sessions_ended)]))
