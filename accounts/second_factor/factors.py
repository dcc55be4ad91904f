"""Add and remove second factors, and say who must have one.

Each change ends the member's other sessions, so that no session is left that has shown less than the member has.
"""

from __future__ import annotations

from typing import NamedTuple

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction
from django.db.models.functions import Now

from accounts.second_factor.models import AuthenticatorApp, Passkey, RecoveryCode
from accounts.second_factor.recovery_codes import make_recovery_codes, recovery_codes_left
from common.encryption import EncryptedValue
from organization import audit
from organization.access import EVERYWHERE, Actor, allowed, require
from organization.members import end_sessions, may_edit, require_may_edit
from organization.models import Member
from organization.permissions import Permission
from organization.services import save_validated

_OWN = "Remove your own factors on the page Second factor, which you open from your profile."


class Changed(NamedTuple):
    """The member as stored, and recovery codes if new ones were made."""

    member: Member
    codes: list[str]


def has_second_factor(member: Member) -> bool:
    return AuthenticatorApp.objects.filter(member=member).exists() or Passkey.objects.filter(member=member).exists()


def roles_that_require_one(member: Member) -> list[str]:
    """Names of the member's roles that require a second factor."""
    return sorted({grant.role.name for grant in member.grants if grant.role.requires_second_factor})


def must_set_one_up(member: Member) -> bool:
    return bool(roles_that_require_one(member)) and not has_second_factor(member)


def factors_of(member: Member) -> dict[str, object]:
    """What the member has, for pages and the audit trail. Empty if that is nothing."""
    app = AuthenticatorApp.objects.filter(member=member).exists()
    passkeys = list(Passkey.objects.filter(member=member).values_list("label", flat=True))
    if not app and not passkeys:
        return {}
    return {"authenticator_app": app, "passkeys": passkeys, "recovery_codes_left": recovery_codes_left(member)}


def keep_authenticator_app(member: Member, secret: str, step: int) -> Changed:
    """Store the member's app, in place of the one before. `step` is that of the code which the member has just typed."""
    with transaction.atomic():
        stored = _locked(member)
        values = {"secret": EncryptedValue.of(secret), "last_step": step, "created": Now(), "last_used": None}
        app, is_new = AuthenticatorApp.objects.update_or_create(member=stored, defaults=values)
        audit.record(stored, audit.Operation.CREATE if is_new else audit.Operation.UPDATE, app)
        return Changed(stored, _first_codes(stored))


def add_passkey(member: Member, passkey: Passkey) -> Changed:
    """Raises ValidationError."""
    with transaction.atomic():
        stored = _locked(member)
        passkey.member = stored
        save_validated(passkey)
        audit.record(stored, audit.Operation.CREATE, passkey, after={"label": passkey.label})
        return Changed(stored, _first_codes(stored))


def renew_recovery_codes(member: Member) -> Changed:
    with transaction.atomic():
        stored = _locked(member)
        codes = make_recovery_codes(stored)
        audit.record(stored, audit.Operation.CREATE, RecoveryCode)
        return Changed(stored, codes)


def remove_factor(member: Member, factor: AuthenticatorApp | Passkey) -> Changed:
    """Remove one's own factor, and the recovery codes with the last one. Raises ValidationError if a role requires that one."""
    with transaction.atomic():
        stored = _locked(member)
        audit.record(stored, audit.Operation.DELETE, factor)
        factor.delete()
        if not has_second_factor(stored):
            if roles := roles_that_require_one(stored):
                raise ValidationError(f"Your role {roles[0]} requires a second factor. Add another one first.")
            RecoveryCode.objects.filter(member=stored).delete()
        return Changed(stored, [])


def may_remove_all(actor: Member, member: Member) -> bool:
    """Whether `actor` may remove the factors of this other member."""
    may = actor.viewer is None and allowed(actor, EVERYWHERE, Permission.REMOVE_SECOND_FACTORS)
    return may and actor != member and may_edit(actor, member)


def remove_all(member: Member, actor: Actor) -> None:
    """Remove another member's factors and recovery codes, for one who has lost them. Their sessions end.

    Raises PermissionDenied, and ValidationError if there are none.
    """
    require(actor, EVERYWHERE, Permission.REMOVE_SECOND_FACTORS)
    require_may_edit(actor, member)
    if actor == member:
        raise PermissionDenied(_OWN)
    with transaction.atomic():
        stored = end_sessions(member)
        require_may_edit(actor, stored)
        before = factors_of(stored)
        if not before:
            raise ValidationError(f"{stored.name} has no second factor.")
        owned: tuple[type[models.Model], ...] = (AuthenticatorApp, Passkey, RecoveryCode)
        for model in owned:
            model._default_manager.filter(member=stored).delete()
        audit.record(actor, audit.Operation.REMOVE_SECOND_FACTORS, stored, before=before)


def _locked(member: Member) -> Member:
    """The stored row, for a change by the member. Their other sessions end.

    Raises PermissionDenied if this one has ended meanwhile, such as by a deactivation or a new password.
    """
    stored = Member.objects.select_for_update(no_key=True).get(pk=member.pk)
    if not stored.is_active or stored.get_session_auth_hash() != member.get_session_auth_hash():
        raise PermissionDenied("You were signed out meanwhile. Nothing was changed.")
    return end_sessions(stored)


def _first_codes(member: Member) -> list[str]:
    """Recovery codes, if the member has none yet."""
    if RecoveryCode.objects.filter(member=member).exists():
        return []
    audit.record(member, audit.Operation.CREATE, RecoveryCode)
    return make_recovery_codes(member)
