"""One stage's SMTP settings: the server all of its apps send through. (ODC: Configure emails.)"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from emailconfig.validators import (
    PORT_25_REFUSED,
    is_loopback,
    normalize_domains,
    normalize_server,
    validate_ca_certificate,
    validate_port,
)
from organization.addresses import ADDRESS_MAX_LENGTH, domain_of, validate_address
from organization.encryption import EncryptedTextField, EncryptedValue
from organization.models import Stage, validate_one_line

PASSWORD_AGAIN = "Enter the password again: the stored one belongs to the server, port, security and user it was entered for."


class SmtpSettings(models.Model):
    """How a stage's mail leaves. `new_password` carries a password just typed; empty means: keep the stored one."""

    class Security(models.TextChoices):
        STARTTLS = "starttls", "STARTTLS"
        TLS = "tls", "TLS from the start"
        NONE = "none", "None (not encrypted)"

    class Authentication(models.TextChoices):
        NONE = "none", "None"
        BASIC = "basic", "Basic (username and password)"

    stage = models.OneToOneField(Stage, on_delete=models.PROTECT, related_name="smtp_settings")
    server = models.CharField("SMTP server", max_length=255, help_text="A host name or IP address, such as smtp.example.com.")
    port = models.IntegerField("SMTP port", default=587, validators=[validate_port])
    security = models.CharField(max_length=10, choices=Security, default=Security.STARTTLS)
    ca_certificate = models.TextField(
        "own CA certificate",
        blank=True,
        max_length=200_000,
        validators=[validate_ca_certificate],
        help_text="PEM. Only when the server's certificate isn't signed by a public authority.",
    )
    authentication = models.CharField(max_length=10, choices=Authentication, default=Authentication.NONE)
    username = models.CharField("username", max_length=255, blank=True, validators=[validate_one_line])
    password = EncryptedTextField()
    sender_address = models.CharField(
        max_length=ADDRESS_MAX_LENGTH,
        help_text="Used where an app gives no sender of its own, such as no-reply@example.com.",
    )
    sender_name = models.CharField(max_length=100, blank=True, validators=[validate_one_line])
    from_domains = models.TextField(
        "other sender domains allowed",
        blank=True,
        max_length=5000,
        help_text="Apps may send as addresses of the sender's domain and of these, one per line; * allows any. "
        "Other senders are replaced by the sender above.",
    )
    connections = models.PositiveSmallIntegerField(
        default=4,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="How many connections may be open to the server at once, over all workers, 1 to 100.",
    )
    mails_per_minute = models.PositiveIntegerField(
        default=0,
        validators=[MaxValueValidator(1_000_000)],
        help_text="No faster than this, over all connections; 0 for no limit. Microsoft 365 takes 30 a minute from a mailbox.",
    )
    version = models.PositiveIntegerField(default=0, editable=False)
    updated = models.DateTimeField(auto_now=True)
    updated_by = models.CharField(max_length=360, blank=True, editable=False)

    # What a stored password belongs to: change any of these and it is asked for again.
    DESTINATION = ("server", "port", "security", "authentication", "username")

    new_password: str = ""

    class Meta:
        verbose_name = verbose_name_plural = "SMTP settings"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(port__gte=1, port__lte=65535) & ~models.Q(port=25),
                name="smtp_port_supported",
                violation_error_message=PORT_25_REFUSED,
            )
        ]

    def __str__(self) -> str:
        return f"{self.server}:{self.port}"

    def clean(self) -> None:
        errors: dict[str, Any] = {}
        for name, normalize in (
            ("server", normalize_server),
            ("sender_address", validate_address),
            ("from_domains", normalize_domains),
        ):
            try:
                setattr(self, name, normalize(getattr(self, name)) if getattr(self, name) else "")
            except ValidationError as error:
                errors[name] = error
        if not errors:
            self._clean_authentication(errors)
        if errors:
            raise ValidationError(errors)

    def _clean_authentication(self, errors: dict[str, Any]) -> None:
        if self.authentication == self.Authentication.NONE:
            self.username, self.new_password, self.password = "", "", EncryptedValue()
            return
        if not self.username:
            errors["username"] = ValidationError("Enter the user name for Basic authentication.")
        if self.security == self.Security.NONE and not is_loopback(self.server):
            errors["security"] = ValidationError(
                "A password is never sent unencrypted. Choose STARTTLS or TLS, or no authentication."
            )
        if self.new_password:
            if not self.new_password.isprintable():
                errors["password"] = ValidationError("The password contains a line break or a control character.")
        elif not self.password:
            errors["password"] = ValidationError("Enter the password for Basic authentication.")
        elif not self._is_destination_unchanged():
            errors["password"] = ValidationError(PASSWORD_AGAIN, code="password_again")

    def _is_destination_unchanged(self) -> bool:
        """Whether the stored password goes where it was entered for: asked of the database, not of what was once read."""
        destination = {name: getattr(self, name) for name in self.DESTINATION}
        return SmtpSettings.objects.filter(pk=self.pk, **destination).exists()

    def allows_sender(self, address: str) -> bool:
        """Whether an app may send as `address`: the sender's own domain, or one the stage allows."""
        allowed = {normalized_domain(self.sender_address), *self.from_domains.split()}
        return "*" in allowed or normalized_domain(address) in allowed


@lru_cache(maxsize=10_000)
def normalized_domain(address: str) -> str:
    """The domain of `address` in A-label form; as it stands where it can't be converted."""
    domain = domain_of(address)
    try:
        return normalize_server(domain) if domain else ""
    except ValidationError:
        return domain
