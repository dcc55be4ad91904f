"""A member's second factors, and the codes for the day on which they are lost."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from common.encryption import EncryptedTextField
from common.text import validate_one_line
from organization.models import Member


class AuthenticatorApp(models.Model):
    """An app that makes a code every 30 seconds from a secret that it shares with the portal (TOTP, RFC 6238)."""

    member = models.OneToOneField(Member, on_delete=models.CASCADE, related_name="authenticator_app")
    secret = EncryptedTextField()
    # The time step of the last code that was accepted. That code and older ones don't work again.
    last_step = models.BigIntegerField(editable=False)
    created = models.DateTimeField(db_default=Now(), editable=False)
    last_used = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "authenticator app"

    def __str__(self) -> str:
        return f"Authenticator app of {self.member.name}"


class Passkey(models.Model):
    """A key pair on a member's device (WebAuthn). The portal has the public key."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="passkeys")
    label = models.CharField(
        "name",
        max_length=60,
        default="Passkey",
        validators=[validate_one_line],
        help_text="Where it is, such as “Laptop” or “Security key”.",
    )
    # Both as the browser gives them, in URL-safe base64. The longest id has 1023 bytes.
    credential_id = models.CharField(max_length=1400, unique=True, editable=False)
    credential = models.TextField(editable=False)
    # As the device counts its signatures. Devices that don't count say 0.
    sign_count = models.BigIntegerField(editable=False)
    created = models.DateTimeField(db_default=Now(), editable=False)
    last_used = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "passkey"
        ordering = ["created", "pk"]

    def __str__(self) -> str:
        return f"Passkey “{self.label}” of {self.member.name}"


class RecoveryCode(models.Model):
    """A code that works once in place of a second factor. Only its SHA-256 is stored: it has 120 random bits."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="recovery_codes")
    secret_hash = models.CharField(max_length=64, editable=False)
    created = models.DateTimeField(db_default=Now(), editable=False)
    used = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "recovery code"
        constraints = [models.UniqueConstraint(fields=["member", "secret_hash"], name="recovery_code_once_per_member")]

    def __str__(self) -> str:
        return f"Recovery code of {self.member.name}"
