"""Open, check and end a member's sessions."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts import statements
from accounts.sessions.device import device_of
from accounts.sessions.models import MemberSession
from accounts.statements import SessionUse
from common import sql
from common.clock import parse_db_time
from organization import audit
from organization.access import EVERYWHERE, Actor, require
from organization.members import end_sessions, require_may_edit
from organization.models import Member
from organization.permissions import Permission
from organization.throttle.networks import client_of

_ROW = "member_session"
# The use of a session is written at most this often.
_WRITTEN_EVERY = timedelta(minutes=1)
# What a page requests on its own while nobody looks at it.
_POLL_HEADER = "Portal-Poll"


def open_session(request: HttpRequest, member: Member) -> None:
    """Store whose session the request's is. One that it has been before is over."""
    end_current(request)
    row = MemberSession.objects.create(
        member=member,
        auth_digest=_digest(request.session[HASH_SESSION_KEY]),
        device=device_of(request.META.get("HTTP_USER_AGENT", "")),
        address=client_of(request),
    )
    request.session[_ROW] = row.pk


def end_current(request: HttpRequest) -> None:
    """Forget the request's session: the member signs out."""
    if number := current_id(request):
        MemberSession.objects.filter(pk=number).delete()


def current_id(request: HttpRequest) -> int | None:
    """The id of the row of the request's session."""
    number: int | None = request.session.get(_ROW)
    return number


def is_open(request: HttpRequest, member: Member) -> bool:
    """Whether the member's session goes on, and if so, note that it is used."""
    number = current_id(request)
    if number is None:  # from before there were such rows
        open_session(request, member)
        return True
    now = timezone.now()
    uses = sql.fetch(statements.SESSION_USE, number, member.pk, *map(sql.to_db_time, _since(now)))
    for use in uses:
        _note_use(number, use, request, now)
    return bool(uses)


def _note_use(number: int, use: SessionUse, request: HttpRequest, now: datetime) -> None:
    digest = _digest(request.session[HASH_SESSION_KEY])
    is_due = now - parse_db_time(use.last_used) >= _WRITTEN_EVERY and _POLL_HEADER not in request.headers
    if is_due or use.auth_digest != digest:  # the member has changed the password here
        address = client_of(request)
        MemberSession.objects.filter(pk=number).update(last_used=now, address=address, auth_digest=digest)


def sessions_of(member: Member) -> QuerySet[MemberSession]:
    """The sessions with which the member is signed in now."""
    hashes = [member.get_session_auth_hash(), *member.get_session_auth_fallback_hash()]
    return MemberSession.objects.filter(_lasting(timezone.now()), member=member, auth_digest__in=map(_digest, hashes))


def end_session(row: MemberSession, actor: Actor) -> None:
    """End one session of the actor, or of a member whom the actor may edit. Ending twice is no error.

    Raises PermissionDenied.
    """
    _require_may_end(actor, row.member)
    with transaction.atomic():
        deleted, _ = MemberSession.objects.filter(pk=row.pk).delete()
        if deleted:
            what = {"member": str(row.member), "device": row.device, "address": row.address}
            audit.record(actor, audit.Operation.REVOKE, row, before=what)


def sign_out_everywhere(member: Member, actor: Actor) -> None:
    """End all sessions of the actor, or of a member whom the actor may edit. Raises PermissionDenied."""
    _require_may_end(actor, member)
    with transaction.atomic():
        stored = end_sessions(member)
        after = audit.snapshot(stored)
        before = {**after, "sessions_ended": stored.sessions_ended - 1}
        audit.record(actor, audit.Operation.UPDATE, stored, before=before, after=after)
        MemberSession.objects.filter(member=member).delete()


def remove_ended() -> None:
    """Remove the rows of sessions that are over, ours and Django's."""
    MemberSession.objects.exclude(_lasting(timezone.now())).delete()
    SessionStore.clear_expired()


def _require_may_end(actor: Actor, member: Member) -> None:
    if actor != member:
        require(actor, EVERYWHERE, Permission.MANAGE_MEMBERS)
        require_may_edit(actor, member)


def _lasting(now: datetime) -> Q:
    used, started = _since(now)
    return Q(last_used__gt=used, started__gt=started)


def _since(now: datetime) -> tuple[datetime, datetime]:
    """Since when a session that goes on must have been used, and have begun."""
    return now - timedelta(minutes=settings.SESSION_IDLE_MINUTES), now - timedelta(hours=settings.SESSION_MAX_HOURS)


def _digest(session_hash: str) -> str:
    return sha256(session_hash.encode()).hexdigest()
