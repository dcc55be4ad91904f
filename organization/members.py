"""Change members.

Each change locks the stored row and writes only its own columns.

A member and an administrator may save at the same moment. Then the administrator's change wins: a form that was opened earlier
never activates a deactivated member again, and never restores an old password.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction

from organization import audit
from organization.access import EVERYWHERE, Actor, require
from organization.exceptions import StaleVersion
from organization.govern.administrators import keeping_an_administrator
from organization.govern.rights import holds_rights_of
from organization.models import Member
from organization.permissions import Permission
from organization.services import save_validated

_PROFILE = ("name", "theme", "time_zone")
_BY_ADMINISTRATORS = ("email", "name", "is_active", "is_staff", "theme", "time_zone")
_SUPERUSERS_ONLY = "Only a superuser can edit a superuser's account."
_MORE_THAN_HELD = "This member may do what you may not. Only a member who holds all their rights can edit their account."


def save_profile(member: Member) -> Member:
    """Store what members may change about themselves: name, theme, time zone.

    Raises PermissionDenied for a deactivated member, ValidationError or StaleVersion.
    """
    with transaction.atomic():
        stored = _locked(member)
        _require_active(stored)
        return _store(stored, member, member, _PROFILE)


def change_password(member: Member, new_password: str) -> Member:
    """Store the member's own new password.

    This ends the sessions that were opened with the old one. `member` has the password that the member has entered. Raises
    StaleVersion if that is no longer the stored one, PermissionDenied for a deactivated member, and ValidationError.
    """
    with transaction.atomic():
        stored = Member.objects.select_for_update(no_key=True).get(pk=member.pk)
        _require_active(stored)
        if stored.password != member.password:
            raise StaleVersion()
        return _store_password(stored, new_password, stored)


def give_password(member: Member, new_password: str, actor: Actor) -> Member:
    """Store only a new password for another member.

    This ends all their sessions. Raises PermissionDenied or ValidationError.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_MEMBERS)
    with transaction.atomic():
        stored = Member.objects.select_for_update(no_key=True).get(pk=member.pk)
        require_may_edit(actor, stored)
        return _store_password(stored, new_password, actor)


def choose_password(member: Member, new_password: str, operation: audit.Operation) -> Member:
    """Store the password that a member chose through a link that only they have.

    This ends all their sessions. `operation` says what the link was for. Raises PermissionDenied for a deactivated member.
    """
    with transaction.atomic():
        stored = Member.objects.select_for_update(no_key=True).get(pk=member.pk)
        _require_active(stored)
        return _store_password(stored, new_password, stored, operation)


def create_member(
    member: Member, actor: Actor, *, password: str = "", invite: Callable[[Member], object] | None = None
) -> Member:
    """Store a new member, who has a password or is invited to choose one.

    `invite` is called with the stored member, in the same transaction. The actor holds every right of the member. Raises
    PermissionDenied or ValidationError.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_MEMBERS)
    require_may_edit(actor, member)
    if not password and invite is None:
        raise ValidationError("A new member needs a password, or an invitation to choose one.")
    if password:
        validate_password(password, member)
    with transaction.atomic():
        member.set_password(password or None)
        member.version += 1
        save_validated(member)
        audit.record(actor, audit.Operation.CREATE, member, after=audit.snapshot(member))
        if not password and invite is not None:
            invite(member)
    return member


def save_member(member: Member, actor: Actor) -> Member:
    """Store a changed member.

    A deactivation ends all their sessions. The actor holds every right of the member, before and after. Raises
    PermissionDenied, ValidationError or StaleVersion.
    """
    require(actor, EVERYWHERE, Permission.MANAGE_MEMBERS)
    with transaction.atomic(), keeping_an_administrator():
        require_may_edit(actor, member)
        stored = _locked(member)
        require_may_edit(actor, stored)
        columns = [*_BY_ADMINISTRATORS]
        if stored.is_active and not member.is_active:
            member.sessions_ended = stored.sessions_ended + 1
            columns.append("sessions_ended")
        return _store(stored, member, actor, columns)


def end_sessions(member: Member) -> Member:
    """End all sessions. Returns the stored row, locked: call it in the transaction of what is the reason."""
    stored = Member.objects.select_for_update(no_key=True).get(pk=member.pk)
    stored.sessions_ended += 1
    stored.save(update_fields=["sessions_ended"])
    return stored


def may_edit(actor: Actor, member: Member) -> bool:
    """Whether `actor` holds every right of the member.

    Otherwise a new password would let the actor in with more rights. Only superusers and the operator may edit a superuser.
    """
    return holds_rights_of(actor, member)


def require_may_edit(actor: Actor, member: Member) -> None:
    """Raise PermissionDenied unless `actor` may edit the member."""
    if not may_edit(actor, member):
        raise PermissionDenied(_SUPERUSERS_ONLY if member.is_superuser else _MORE_THAN_HELD)


def _store(stored: Member, member: Member, actor: Actor, columns: Collection[str]) -> Member:
    """Write these columns of `member` to the locked row `stored`."""
    before = audit.snapshot(stored)
    for column in columns:
        setattr(stored, column, getattr(member, column))
    stored.version += 1
    save_validated(stored, update_fields=[*columns, "version"])
    audit.record(actor, audit.Operation.UPDATE, stored, before=before, after=audit.snapshot(stored))
    return stored


def _store_password(
    stored: Member, new_password: str, actor: Actor, operation: audit.Operation = audit.Operation.CHANGE_PASSWORD
) -> Member:
    """Write only the password to the locked row `stored`. Raises ValidationError for a weak one."""
    validate_password(new_password, stored)
    stored.set_password(new_password)
    stored.save(update_fields=["password"])
    audit.record(actor, operation, stored)
    return stored


def _locked(member: Member) -> Member:
    """The stored row, locked. Raises StaleVersion if `member` has another version."""
    stored = Member.objects.select_for_update(no_key=True).filter(pk=member.pk).first()
    if stored is None or stored.version != member.version:
        raise StaleVersion()
    return stored


def _require_active(member: Member) -> None:
    if not member.is_active:
        raise PermissionDenied("This account was deactivated. Ask an administrator of your organization.")
