"""One stage's SMTP settings: the server all of its apps send through. (ODC: Configure emails.)"""

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
    "Enter the {secret} again: the stored one belongs to the server, port, security, CA certificate, authentication, user and "
    "token settings it was entered for."
)

# Top-level domains of names that mean something on one machine or network only (RFC 6761, RFC 6762).
_LOCAL_DOMAINS = frozenset(("localhost", "localdomain", "local", "internal", "lan", "home", "arpa", "invalid", "test", "example"))


class SmtpSettings(models.Model):
    """How a stage's mail leaves.

    `secret` is the password, or the OAuth 2.0 client secret. `new_secret` carries one just typed; empty means: keep the
    stored one.
    """

    class Security(models.TextChoices):
        STARTTLS = "starttls", "STARTTLS"
        TLS = "tls", "TLS from the start"
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
        help_text="PEM. Only if no public authority signed the server's certificate. The token server may have a certificate of "
        "this authority too.",
    )
    authentication = models.CharField(max_length=10, choices=Authentication, default=Authentication.NONE)
    username = models.CharField(
        "username",
        max_length=255,
        blank=True,
        validators=[validate_one_line],
        help_text="With OAuth 2.0: the mailbox that is signed in to; the sender address, if empty.",
    )
    token_url = models.CharField(
        "server token URL",
        max_length=1000,
        blank=True,
        help_text="Where the portal asks for tokens, such as https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token.",
    )
    client_id = models.CharField("client ID", max_length=255, blank=True, validators=[validate_one_line])
    scopes = models.CharField(
        max_length=1000, blank=True, validators=[validate_one_line], help_text="Separated by spaces, as the provider says."
    )
    client_authentication = models.CharField(
        "how the client secret is sent", max_length=30, choices=ClientAuthentication, default=ClientAuthentication.POST
    )
    secret = EncryptedTextField()
    secret_ends = models.DateField(
        "client secret ends on", null=True, blank=True, help_text="If you enter it, Home says in time that a new one is needed."
    )
    sender_address = models.CharField(
        max_length=ADDRESS_MAX_LENGTH,
        help_text="Used where an app gives no sender of its own, such as no-reply@example.com.",
    )
    sender_name = models.CharField(max_length=100, blank=True, validators=[validate_one_line])
    from_domains = models.TextField(
        "other sender domains allowed",
        blank=True,
        max_length=5000,
        help_text="Apps may send as addresses of the sender's domain and of these, one per line; "
        "*.example.com allows all domains below example.com, and * any. "
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
    recipients_per_transaction = models.PositiveSmallIntegerField(
        default=100,
        db_default=100,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="An email to more recipients is handed over in several parts, 1 to 1,000. Amazon SES takes 50.",
    )
    ehlo_name = models.CharField(
        "EHLO name",
        max_length=255,
        blank=True,
        default="",
        db_default="",
        help_text="What the portal calls itself in EHLO. If empty: the name of its machine, or the sender's domain where that "
        "isn't a full host name.",
    )
    version = models.PositiveIntegerField(default=0, editable=False)
    updated = models.DateTimeField(auto_now=True)
    updated_by = models.CharField(max_length=360, blank=True, editable=False)

    # What the audit trail keeps in place of a value.
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
    def mailbox(self) -> str:
        """Who is signed in with a token: the user, or the sender where none is given."""
        return self.username or wire_address(self.sender_address)

    @property
    def hello(self) -> str:
        """The name said in EHLO."""
        return self.ehlo_name or machine_name() or normalized_domain(self.sender_address)

    @property
    def secret_field(self) -> str:
        """What the secret is called where it is entered."""
        return secret_field_of(self.authentication)

    def reveal_secret(self) -> str:
        """The secret that holds for these settings: one just typed, or the stored one. Raises UndecryptableSecret."""
        return self.new_secret or self.secret.reveal()

    @property
    def destination(self) -> tuple[object, ...]:
        """What a stored secret belongs to: where it goes, as whom, for what, and who proves to be there.

        Change any of it and the secret is asked for again.
        """
        is_oauth = self.authentication == self.Authentication.OAUTH2
        return (
            *(self.server, self.port, self.security, self.authentication),
            self.ca_certificate.split(),  # line breaks come from forms and files differently
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
        if self.security == self.Security.NONE and not is_loopback(self.server):
            errors["security"] = ValidationError(
                "A password is never sent unencrypted. Choose STARTTLS or TLS, or no authentication."
            )
        if self.authentication == self.Authentication.BASIC and not self.username:
            errors["username"] = ValidationError("Enter the user name for Basic authentication.")
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
            errors["username"] = ValidationError("A mailbox that is signed in to by OAuth 2.0 has an address in ASCII.")

    def _clean_secret(self, errors: dict[str, Any]) -> None:
        field = self.secret_field
        name = field.replace("_", " ")
        if not self.new_secret:
            self._take_stored_secret(errors)
        elif not self.new_secret.isprintable():
            errors[field] = ValidationError(f"The {name} contains a line break or a control character.")
        elif set(self.new_secret) <= {"•", "●"}:
            errors[field] = ValidationError(f"These dots stand for the stored {name}. Leave the field empty to keep it.")

    def _take_stored_secret(self, errors: dict[str, Any]) -> None:
        """Take the secret from the row that its destination is compared with.

        What this instance has read before doesn't count: meanwhile another save may have brought another secret for another
        server, and then the older secret would go there.
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
        """Whether an app may send as `address`: the sender's own domain, or one the stage allows."""
        return is_among(normalized_domain(address), {normalized_domain(self.sender_address), *self.from_domains.split()})

    def names_sender(self, address: str) -> bool:
        """As allows_sender(), but `*` names nobody: whom test mail may carry as its sender."""
        named = {normalized_domain(self.sender_address), *self.from_domains.split()} - {"*"}
        return is_among(normalized_domain(address), named)


def secret_field_of(authentication: str) -> str:
    """What the secret of that authentication is called where it is entered."""
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
    """The token with which all workers sign in to a stage's server, and who is asking for the next (connection.tokens)."""

    settings = models.OneToOneField(SmtpSettings, on_delete=models.CASCADE, primary_key=True, related_name="oauth_token")
    version = models.PositiveIntegerField(default=0, help_text="Of the settings that the token was asked for with.")
    token = EncryptedTextField()
    renew_at = models.DateTimeField(null=True)
    expires = models.DateTimeField(null=True)
    asked_at = models.DateTimeField(null=True, help_text="Since when somebody asks the token server.")
    refusals = models.PositiveIntegerField(default=0)
    refusal_code = models.CharField(max_length=40, blank=True)
    refusal = models.TextField(blank=True)

    class Meta:
        verbose_name = "OAuth 2.0 token"

    def __str__(self) -> str:
        return f"Token for {self.settings}"


class ConnectionTest(models.Model):
    """A test of a stage's connection, as far as it has come (doctor_runs). Holds no secret."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+")
    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="+")
    server = models.CharField(max_length=300, help_text="Server and port that are tested.")
    sender = models.CharField(max_length=ADDRESS_MAX_LENGTH)
    recipient = models.CharField(max_length=ADDRESS_MAX_LENGTH, blank=True)
    findings = models.JSONField(default=list)
    started = models.DateTimeField(db_default=Now())
    finished = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"Test of {self.server}"


def machine_name() -> str:
    """This machine's host name; empty where others can't know it, as in a container. Servers refuse such names in EHLO."""
    name = str(DNS_NAME).lower()
    return name if "." in name and name.rpartition(".")[2] not in _LOCAL_DOMAINS else ""


@lru_cache(maxsize=10_000)
def normalized_domain(address: str) -> str:
    """The domain of `address` in A-label form; as it stands where it can't be converted."""
    domain = domain_of(address)
    try:
        return normalize_server(domain) if domain else ""
    except ValidationError:
        return domain
