"""One stage's SMTP settings: the server all of its apps send through (ODC: Configure emails)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.mail.utils import DNS_NAME
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now

from common.addresses import ADDRESS_MAX_LENGTH, domain_of, validate_address, wire_address
from common.encryption import EncryptedTextField, EncryptedValue
from common.text import validate_one_line
from emailconfig.validators import (
    PORT_25_REFUSED,
    certificate_fingerprints,
    is_among,
    is_loopback,
    normalize_domains,
    normalize_ehlo_name,
    normalize_reachable_server,
    normalize_server,
    normalize_token_url,
    validate_ca_certificate,
    validate_port,
)
from organization.exceptions import StaleVersion
from organization.models import Member, Stage

SECRET_AGAIN = (
    "Enter the {secret} again: the stored one belongs to the server, port, security, CA certificate, authentication, username "
    "and token settings that it was entered for."
)

# Top-level domains whose names are valid only on one machine or network (RFC 6761, RFC 6762).
_LOCAL_DOMAINS = frozenset(("localhost", "localdomain", "local", "internal", "lan", "home", "arpa", "invalid", "test", "example"))


class SmtpSettings(models.Model):
    """The SMTP settings through which a stage's messages are sent.

    `secret` is the password or the OAuth 2.0 client secret. `new_secret` is a secret that was just entered, or empty to keep the
    stored one.
    """

    class Security(models.TextChoices):
        STARTTLS = "starttls", "STARTTLS"
        TLS = "tls", "Implicit TLS"
        NONE = "none", "None (not encrypted)"

    class Authentication(models.TextChoices):
        NONE = "none", "None"
        BASIC = "basic", "Basic (username and password)"
        OAUTH2 = "oauth2", "OAuth 2.0 – client credentials"

    class ClientAuthentication(models.TextChoices):
        POST = "client_secret_post", "In the form (client_secret_post)"
        BASIC = "client_secret_basic", "In a header (client_secret_basic)"

    stage = models.OneToOneField(Stage, on_delete=models.PROTECT, related_name="smtp_settings")
    server = models.CharField("SMTP server", max_length=255, help_text="A host name or IP address, such as smtp.example.com.")
    port = models.IntegerField("SMTP port", default=587, validators=[validate_port])
    security = models.CharField(max_length=10, choices=Security, default=Security.STARTTLS)
    ca_certificate = models.TextField(
        "own CA certificate",
        blank=True,
        max_length=200_000,
        validators=[validate_ca_certificate],
        help_text="In PEM form. Needed only if no public authority signed the server's certificate. The token server may have a "
        "certificate of this authority too.",
    )
    authentication = models.CharField(max_length=10, choices=Authentication, default=Authentication.NONE)
    username = models.CharField(
        "username",
        max_length=255,
        blank=True,
        validators=[validate_one_line],
        help_text="With OAuth 2.0: the mailbox to sign in to. If empty, the sender address is used.",
    )
    token_url = models.CharField(
        "server token URL",
        max_length=1000,
        blank=True,
        help_text="The URL where the portal requests tokens, such as https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token.",
    )
    client_id = models.CharField("client ID", max_length=255, blank=True, validators=[validate_one_line])
    scopes = models.CharField(
        max_length=1000, blank=True, validators=[validate_one_line], help_text="Separated by spaces, as the provider states them."
    )
    client_authentication = models.CharField(
        "how the client secret is sent", max_length=30, choices=ClientAuthentication, default=ClientAuthentication.POST
    )
    secret = EncryptedTextField()
    secret_ends = models.DateField(
        "client secret ends on",
        null=True,
        blank=True,
        help_text="If you enter it, Home reminds you in time that a new secret is needed.",
    )
    sender_address = models.CharField(
        max_length=ADDRESS_MAX_LENGTH,
        help_text="Used if an app sets no sender, such as no-reply@example.com.",
    )
    sender_name = models.CharField(max_length=100, blank=True, validators=[validate_one_line])
    from_domains = models.TextField(
        "other sender domains allowed",
        blank=True,
        max_length=5000,
        help_text="Apps may send from addresses of the sender's domain and of these domains, one per line. "
        "*.example.com allows all domains below example.com, and * allows any. "
        "Other senders are replaced by the sender above.",
    )
    connections = models.PositiveSmallIntegerField(
        default=4,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="How many connections to the server may be open at once, over all workers: 1 to 100.",
    )
    mails_per_minute = models.PositiveIntegerField(
        "emails per minute",
        default=0,
        validators=[MaxValueValidator(1_000_000)],
        help_text="The highest rate over all connections, or 0 for no limit. Microsoft 365 accepts 30 per minute from a mailbox.",
    )
    recipients_per_transaction = models.PositiveSmallIntegerField(
        default=100,
        db_default=100,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="An email to more recipients is sent in several transactions: 1 to 1,000. Amazon SES accepts 50.",
    )
    ehlo_name = models.CharField(
        "EHLO name",
        max_length=255,
        blank=True,
        default="",
        db_default="",
        help_text="The name that the portal gives in EHLO. If empty, it is the machine's name, or the sender's domain if that "
        "name isn't a full host name.",
    )
    version = models.PositiveIntegerField(default=0, editable=False)
    updated = models.DateTimeField(auto_now=True)
    updated_by = models.CharField(max_length=360, blank=True, editable=False)

    # For these fields the audit trail keeps a summary instead of the value.
    AUDIT_SUMMARIES = {"ca_certificate": certificate_fingerprints}

    new_secret: str = ""

    class Meta:
        verbose_name = verbose_name_plural = "SMTP settings"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(port__gte=1, port__lte=65535) & ~models.Q(port=25),
                name="smtp_port_supported",
                violation_error_message=PORT_25_REFUSED,
            ),
            # What they don't name could be taken for a connection without encryption or sign-in.
            models.CheckConstraint(condition=models.Q(security__in=("starttls", "tls", "none")), name="smtp_security"),
            models.CheckConstraint(
                condition=models.Q(authentication__in=("none", "basic", "oauth2")), name="smtp_authentication"
            ),
            models.CheckConstraint(
                condition=models.Q(client_authentication__in=("client_secret_post", "client_secret_basic")),
                name="smtp_client_authentication",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.server}:{self.port}"

    def clean(self) -> None:
        errors: dict[str, Any] = {}
        for name, normalize in (
            ("server", normalize_reachable_server),
            ("ehlo_name", normalize_ehlo_name),
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

    @property
    def is_sent_unencrypted(self) -> bool:
        """Whether email crosses a network without encryption."""
        return self.security == self.Security.NONE and not is_loopback(self.server)

    @property
    def mailbox(self) -> str:
        """The mailbox for a sign-in with a token: the username, or else the sender."""
        return self.username or wire_address(self.sender_address)

    @property
    def hello(self) -> str:
        """The name that the portal gives in EHLO."""
        return self.ehlo_name or machine_name() or normalized_domain(self.sender_address)

    @property
    def secret_field(self) -> str:
        """The form field in which the secret is entered."""
        return secret_field_of(self.authentication)

    def reveal_secret(self) -> str:
        """The secret: the one just entered, or the stored one. Raises UndecryptableSecret."""
        return self.new_secret or self.secret.reveal()

    @property
    def destination(self) -> tuple[object, ...]:
        """The values that a stored secret belongs to.

        They say where the secret is sent, as which user, for which scopes, and how the server proves its identity. If any of
        them changes, the secret must be entered again.
        """
        is_oauth = self.authentication == self.Authentication.OAUTH2
        return (
            *(self.server, self.port, self.security, self.authentication),
            self.ca_certificate.split(),  # forms and files have different line breaks
            self.mailbox if is_oauth else self.username,
            *(self.token_url, self.client_id, self.scopes, self.client_authentication),
        )

    def _clean_authentication(self, errors: dict[str, Any]) -> None:
        if self.authentication != self.Authentication.OAUTH2:
            self.token_url, self.client_id, self.scopes, self.secret_ends = "", "", "", None
            self.client_authentication = self.ClientAuthentication.POST
        if self.authentication == self.Authentication.NONE:
            self.username, self.new_secret, self.secret = "", "", EncryptedValue()
            return
        if self.is_sent_unencrypted:
            errors["security"] = ValidationError(
                "A password is never sent unencrypted. Choose STARTTLS or TLS, or no authentication."
            )
        if self.authentication == self.Authentication.BASIC and not self.username:
            errors["username"] = ValidationError("Enter the username for Basic authentication.")
        if self.authentication == self.Authentication.OAUTH2:
            self._clean_oauth(errors)
        self._clean_secret(errors)

    def _clean_oauth(self, errors: dict[str, Any]) -> None:
        if not self.client_id:
            errors["client_id"] = ValidationError("Enter the client ID.")
        try:
            self.token_url = normalize_token_url(self.token_url)
        except ValidationError as error:
            errors["token_url"] = error
        if not self.mailbox.isascii():
            errors["username"] = ValidationError(
                "Enter an ASCII address: OAuth 2.0 can't sign in to a mailbox with other characters."
            )

    def _clean_secret(self, errors: dict[str, Any]) -> None:
        field = self.secret_field
        name = field.replace("_", " ")
        if not self.new_secret:
            self._take_stored_secret(errors)
        elif not self.new_secret.isprintable():
            errors[field] = ValidationError(f"The {name} contains a line break or a control character.")
        elif set(self.new_secret) <= {"•", "●"}:
            errors[field] = ValidationError(f"The dots are not a {name}. Leave the field empty to keep the stored one.")

    def _take_stored_secret(self, errors: dict[str, Any]) -> None:
        """Take the secret from the same row whose destination is compared.

        The secret that this instance read earlier isn't used. Another save may have stored another server and secret meanwhile,
        and then the older secret would be sent to the wrong server.
        """
        field = self.secret_field
        name = field.replace("_", " ")
        stored = SmtpSettings.objects.filter(stage_id=self.stage_id).first()
        if not (stored and stored.secret):
            errors[field] = ValidationError(f"Enter the {name}.")
        elif stored.destination != self.destination:
            errors[field] = ValidationError(SECRET_AGAIN.format(secret=name), code="secret_again")
        elif stored.version != self.version:
            errors[NON_FIELD_ERRORS] = StaleVersion()
        else:
            self.secret = stored.secret

    def allows_sender(self, address: str) -> bool:
        """Whether an app may send as `address`.

        Its domain must be the sender's own, or one that the stage allows.
        """
        return is_among(normalized_domain(address), {normalized_domain(self.sender_address), *self.from_domains.split()})

    def names_sender(self, address: str) -> bool:
        """Whether test mail may have `address` as its sender.

        As allows_sender(), except that `*` allows no address here.
        """
        named = {normalized_domain(self.sender_address), *self.from_domains.split()} - {"*"}
        return is_among(normalized_domain(address), named)


def secret_field_of(authentication: str) -> str:
    """The form field in which the secret of this authentication is entered."""
    return "client_secret" if authentication == SmtpSettings.Authentication.OAUTH2 else "password"


class DeletedSettings(models.Model):
    """The last version of a stage's settings that were deleted: the next settings count on from it.

    So a version never means two different settings, neither in a form that was left open nor in the email log.
    """

    stage = models.OneToOneField(Stage, on_delete=models.CASCADE, primary_key=True, related_name="+")
    version = models.PositiveIntegerField()

    class Meta:
        verbose_name = verbose_name_plural = "deleted SMTP settings"

    def __str__(self) -> str:
        return f"{self.stage}, version {self.version}"


class OAuthToken(models.Model):
    """The token with which all workers sign in to a server (connection.tokens)."""

    settings = models.OneToOneField(SmtpSettings, on_delete=models.CASCADE, primary_key=True, related_name="oauth_token")
    version = models.PositiveIntegerField(default=0, help_text="The version of the settings with which the token was requested.")
    token = EncryptedTextField()
    renew_at = models.DateTimeField(null=True)
    expires = models.DateTimeField(null=True)
    asked_at = models.DateTimeField(null=True, help_text="Since when a worker has been requesting a token.")
    refusals = models.PositiveIntegerField(default=0)
    refusal_code = models.CharField(max_length=40, blank=True)
    refusal = models.TextField(blank=True)

    class Meta:
        verbose_name = "OAuth 2.0 token"

    def __str__(self) -> str:
        return f"Token for {self.settings}"


class ConnectionTest(models.Model):
    """A connection test of a stage and its progress (see doctor.runs).

    It holds no secret.
    """

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+")
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="+")
    server = models.CharField(max_length=300, help_text="The server and port to test.")
    sender = models.CharField(max_length=ADDRESS_MAX_LENGTH)
    recipient = models.CharField(max_length=ADDRESS_MAX_LENGTH, blank=True)
    findings = models.JSONField(default=list)
    started = models.DateTimeField(db_default=Now())
    finished = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"Test of {self.server}"


class LastTest(models.Model):
    """The last connection test of a stage, from whichever entry point. Tests on pages are kept for a day only."""

    stage = models.OneToOneField(Stage, on_delete=models.CASCADE, primary_key=True, related_name="+")
    server = models.CharField(max_length=300, help_text="The server and port that were tested.")
    succeeded = models.BooleanField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "last connection test"

    def __str__(self) -> str:
        return f"Last test of {self.server}"


def machine_name() -> str:
    """This machine's host name, or "" if it isn't known outside, as in a container.

    Servers refuse a local name in EHLO.
    """
    name = str(DNS_NAME).lower()
    return name if "." in name and name.rpartition(".")[2] not in _LOCAL_DOMAINS else ""


@lru_cache(maxsize=10_000)
def normalized_domain(address: str) -> str:
    """The domain of `address` in A-label form, or unchanged if it can't be converted."""
    domain = domain_of(address)
    try:
        return normalize_server(domain) if domain else ""
    except ValidationError:
        return domain
