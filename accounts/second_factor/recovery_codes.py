"""Recovery codes: ten, shown once, each works once."""

from __future__ import annotations

import base64
import hashlib
import secrets

from django.db import transaction
from django.db.models.functions import Now

from accounts.exceptions import WrongSecondFactor
from accounts.second_factor.models import RecoveryCode
from organization import audit
from organization.models import Member

HOW_MANY = 10
FEW = 3  # with fewer than these, the pages warn
_BYTES = 15  # 120 bits, so that a fast hash is enough
_GROUP = 4


def make_recovery_codes(member: Member) -> list[str]:
    """Replace the member's codes by new ones, which are returned and can't be read again."""
    RecoveryCode.objects.filter(member=member).delete()
    codes = [_new_code() for _ in range(HOW_MANY)]
    RecoveryCode.objects.bulk_create(RecoveryCode(member=member, secret_hash=_hash(code)) for code in codes)
    return codes


def recovery_codes_left(member: Member) -> int:
    return RecoveryCode.objects.filter(member=member, used=None).count()


def use_recovery_code(member: Member, code: str) -> None:
    """Accept the code, once. Raises WrongSecondFactor."""
    with transaction.atomic():
        # The database decides which of two browsers was first.
        if RecoveryCode.objects.filter(member=member, secret_hash=_hash(code), used=None).update(used=Now()):
            audit.record(member, audit.Operation.USE_RECOVERY_CODE, member, after={"left": recovery_codes_left(member)})
            return
    raise WrongSecondFactor("This isn't one of your recovery codes that are left. Each of them works once.")


def _new_code() -> str:
    text = base64.b32encode(secrets.token_bytes(_BYTES)).decode()
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def _hash(code: str) -> str:
    """Of the letters and digits alone, so that it doesn't matter how the code was typed."""
    typed = "".join(character for character in code.upper() if character.isalnum())
    return hashlib.sha256(typed.encode()).hexdigest()
