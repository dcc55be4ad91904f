"""Codes of an authenticator app (TOTP, RFC 6238): six digits, 30 seconds, and one step of tolerance for clocks."""

from __future__ import annotations

import hmac
import time

import pyotp
import segno
from django.conf import settings
from django.db.models.functions import Now
from django.views.decorators.debug import sensitive_variables

from accounts.exceptions import WrongSecondFactor
from accounts.second_factor.models import AuthenticatorApp
from common.exceptions import UndecryptableSecret
from organization.models import Member

STEP_SECONDS = 30
_WRONG = "This code isn't right. Enter the six digits that your app shows now."
_USED = "This code was used already. Wait for the next one."
_NO_KEY = "The portal can't check codes of your app now. Use a passkey or a recovery code, or ask the operator."


def new_secret() -> str:
    """160 random bits in base32, as RFC 4226 recommends."""
    return pyotp.random_base32()


def setup_uri(secret: str, member: Member) -> str:
    """What the QR code says to the app."""
    return pyotp.TOTP(secret).provisioning_uri(name=member.email, issuer_name=f"{settings.ORGANIZATION_NAME} Email Portal")


def qr_code(uri: str) -> str:
    """The QR code as SVG, without styles. It is dark on light in both themes, because some cameras need that."""
    return str(segno.make(uri, error="m").svg_inline(scale=4, border=4, dark="#000", light="#fff"))


@sensitive_variables("secret")
def matching_step(secret: str, code: str) -> int | None:
    """The time step that `code` belongs to: this one, the one before or the next. None if it is wrong."""
    totp, now = pyotp.TOTP(secret), int(time.time()) // STEP_SECONDS
    matches = [step for step in (now - 1, now, now + 1) if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode())]
    return matches[-1] if matches else None


def check_code(member: Member, code: str) -> None:
    """Accept the code, once. Raises WrongSecondFactor."""
    app = AuthenticatorApp.objects.filter(member=member).first()
    if app is None:
        raise WrongSecondFactor(_WRONG)
    try:
        step = matching_step(app.secret.reveal(), code)
    except UndecryptableSecret as error:
        raise WrongSecondFactor(_NO_KEY) from error
    if step is None:
        raise WrongSecondFactor(_WRONG)
    # The database decides which of two requests with the same code was first.
    if not AuthenticatorApp.objects.filter(pk=app.pk, last_step__lt=step).update(last_step=step, last_used=Now()):
        raise WrongSecondFactor(_USED)
