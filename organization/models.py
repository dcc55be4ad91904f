"""Members and roles, stages, apps and their credentials, and the audit trail."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar, TypeVar

from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower, Now
from django.utils import timezone
from django.utils.functional import cached_property

from common.addresses import ADDRESS_MAX_LENGTH, validate_address
from common.text import validate_one_line
from organization.kept_headers.names import validate_kept_header
from organization.permissions import Permission, stored_codes, unknown_codes
from organization.recipient_policy.patterns import normalize_pattern
from organization.recipient_policy.policy import RecipientPolicy
from organization.throttle.models import FailureCount  # noqa: F401  # so that Django finds it

M = TypeVar("M", bound=models.Model)

validate_key = RegexValidator(
    r"\A[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z",
    "A key has lower-case letters, digits and hyphens, and starts and ends with a letter or digit.",
)


class VersionedModel(models.Model):
    """A model that people edit. Each save increases its version.

    A save states the version that was read, and is refused if another one is stored (decision 7).
    """

    version = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        abstract = True


class NoBulkUpdate(models.QuerySet[M]):
    """A query set that refuses update().

    It would change rows without their service, that is without validation, locks and audit trail.
    """

    refusal = "Change these rows one at a time, through their service."

    def update(self, **values: Any) -> int:
        raise TypeError(self.refusal)


class ImmutableKeyModel(models.Model):
    """A model whose key is used in URLs, commands and credentials.

    A stored key never changes.
    """

    class Meta:
        abstract = True

    key: models.SlugField[str, str]

    def clean(self) -> None:
        super().clean()
        stored = type(self)._default_manager.filter(pk=self.pk).first()
        if stored is not None and stored.key != self.key:
            raise ValidationError({"key": f"The key can't be changed: apps and links rely on “{stored.key}”."})


# Whole addresses and the contents of emails aren't shown to one who views the portal as another member.
_NEVER_VIEWED = frozenset({Permission.ACCESS_USER_INFORMATION.path})


class MemberManager(BaseUserManager["Member"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> Member:
        member = self.model(email=email, **fields)
        member.set_password(password)
        member.full_clean()
        member.save(using=self._db)
        return member

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> Member:
        """Without an entry in the audit trail, which manage.py createsuperuser leaves."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> Member:
        return self.get(email__iexact=username)


class Member(VersionedModel, AbstractBaseUser, PermissionsMixin):
    """A person of the organization, who signs in by email.

    Their RoleGrants say what they may do.
    """

    class Theme(models.TextChoices):
        SYSTEM = "system", "Follow the system"
        DARK = "dark", "Dark"
        LIGHT = "light", "Light"

    groups = None  # type: ignore[assignment]  # RoleGrant replaces Django's groups and permissions
    user_permissions = None  # type: ignore[assignment]

    email = models.CharField("email", max_length=ADDRESS_MAX_LENGTH, unique=True)
    name = models.CharField(max_length=100, validators=[validate_one_line])
    is_active = models.BooleanField(default=True, help_text="Clear this to remove the member: they leave every test list.")
    is_staff = models.BooleanField("may open Django admin", default=False)
    theme = models.CharField(max_length=10, choices=Theme, default=Theme.SYSTEM)
    time_zone = models.CharField(max_length=64, default="UTC")
    created = models.DateTimeField(default=timezone.now, editable=False)
    # A part of each session's hash, so that sessions from before a deactivation stay ended when the member is active again.
    sessions_ended = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    # Who looks at the portal as this member, in this request alone. Then only what both may do counts.
    viewer: Member | None = None

    objects: ClassVar[MemberManager] = MemberManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    class Meta:
        ordering = ["name", "email"]
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="member_email_once",
                violation_error_message="There is already a member with this email address.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"

    def clean(self) -> None:
        try:
            self.email = validate_address(self.email)
        except ValidationError as error:
            raise ValidationError({"email": error}) from error
        if self.time_zone not in zoneinfo.available_timezones():
            raise ValidationError(
                {"time_zone": f"“{self.time_zone}” isn't a time zone. Enter one from the IANA list, such as Europe/Lisbon."}
            )

    @property
    def initials(self) -> str:
        words = self.name.split() or [self.email]
        return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper()

    @property
    def is_invited(self) -> bool:
        """Whether the member hasn't chosen a password yet, nor signed in another way."""
        return self.is_active and self.last_login is None and not self.has_usable_password()

    @cached_property
    def grants(self) -> list[RoleGrant]:
        """The member's role grants, read once per instance, which is once per request."""
        return list(self.role_grants.select_related("role", "app").prefetch_related("role__stages", "stages"))

    def get_session_auth_hash(self) -> str:
        return f"{super().get_session_auth_hash()}.{self.sessions_ended}"

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        return (f"{fallback}.{self.sessions_ended}" for fallback in super().get_session_auth_fallback_hash())

    def check_password(self, raw_password: str | None) -> bool:
        """Check the password, and store it with today's hasher, as Django does.

        The new hash replaces only the hash that was checked, so that a sign-in can't restore an old password over a new one.
        """

        def store_stronger_hash(password: str) -> None:
            weaker, self.password = self.password, make_password(password)
            Member.objects.filter(pk=self.pk, password=weaker).update(password=self.password)

        return check_password(raw_password, self.password, store_stronger_hash)

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Whether the member holds `perm` in the Scope `obj`, or else over everything."""
        return super().has_perm(perm, obj) and self._is_shown_to_viewer(perm, obj)

    def has_perm_anywhere(self, perm: str) -> bool:
        """Whether the member holds `perm` in any app or stage.

        The navigation uses it.
        """
        if self.viewer is not None and (perm in _NEVER_VIEWED or not self.viewer.has_perm_anywhere(perm)):
            return False
        if self.is_active and self.is_superuser:
            return True
        return self.is_active and any(grant.role.includes(perm) for grant in self.grants)

    def _is_shown_to_viewer(self, perm: str, obj: Any) -> bool:
        return self.viewer is None or (perm not in _NEVER_VIEWED and self.viewer.has_perm(perm, obj))


class Role(VersionedModel):
    """A named set of permissions, over all stages or some."""

    name = models.CharField(max_length=60, unique=True, validators=[validate_one_line])
    permissions = models.JSONField(default=list, help_text="Codes of organization.permissions.Permission.")
    stages: models.ManyToManyField[Stage, models.Model] = models.ManyToManyField(
        "Stage", blank=True, help_text="Leave empty for all stages."
    )
    built_in = models.BooleanField(default=False, editable=False)
    # Also for built-in roles. Changed by govern.services.require_second_factor alone.
    requires_second_factor = models.BooleanField("requires a second factor", default=False, db_default=False, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = "organization role"

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        unknown = unknown_codes(self.permissions)
        if unknown:
            raise ValidationError({"permissions": f"Unknown permission: {', '.join(unknown)}."})
        self.permissions = stored_codes(self.permissions)
        if Role.objects.filter(pk=self.pk, built_in=True).exists():
            raise ValidationError(f"The built-in role {self.name} can't be edited. Duplicate it under another name.")

    def includes(self, perm: str) -> bool:
        return perm.removeprefix("organization.") in self.permissions

    @property
    def known_permissions(self) -> list[Permission]:
        """Without codes that only another release knows."""
        return [permission for permission in Permission if permission.value in self.permissions]


class RoleGrant(VersionedModel):
    """A role given to a member, over the whole organization or one app, and for all of the role's stages or some of them.

    Grants add permissions and never remove any.
    """

    member = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="role_grants")
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="grants")
    app = models.ForeignKey("App", on_delete=models.CASCADE, null=True, blank=True, help_text="Leave empty for all apps.")
    stages: models.ManyToManyField[Stage, models.Model] = models.ManyToManyField(
        "Stage", blank=True, help_text="Leave empty for all stages of the role."
    )
    # Such a grant follows the member's groups at the provider. One that a member gives is stored beside it.
    from_single_sign_on = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["member", "role", "app", "from_single_sign_on"], name="role_granted_once_per_app"),
            models.UniqueConstraint(
                fields=["member", "role", "from_single_sign_on"], condition=models.Q(app=None), name="role_granted_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} for {self.member.name} over {self.app or 'all apps'}"


class Stage(VersionedModel, ImmutableKeyModel):
    """A place where apps run, such as Development, QA or Production.

    A stage with messages can be archived but not deleted.
    """

    class Kind(models.TextChoices):
        DEVELOPMENT = "development", "Development"
        NON_PRODUCTION = "non_production", "Non-production"
        PRODUCTION = "production", "Production"

    key = models.SlugField(
        max_length=40,
        unique=True,
        validators=[validate_key],
        help_text="Lower-case letters, digits and hyphens, such as “qa”. It is used in URLs and can't be changed later.",
    )
    name = models.CharField(max_length=60, validators=[validate_one_line])
    order = models.PositiveSmallIntegerField(default=0)
    kind = models.CharField(
        "type",
        max_length=20,
        choices=Kind,
        default=Kind.NON_PRODUCTION,
        help_text="In a Production stage the portal asks for the stage's name before actions that can't be undone.",
    )
    archived = models.BooleanField(default=False)
    # Who may get email: changed by recipient_policy.changes alone. Stages from before it have the policy that they had.
    recipient_policy = models.CharField(
        max_length=12,
        choices=RecipientPolicy,
        default=RecipientPolicy.AS_APPS_ASK,
        db_default=RecipientPolicy.AS_APPS_ASK,
        editable=False,
    )
    # A wider policy may have an end; then this narrower one is in force again.
    policy_until = models.DateTimeField(null=True, editable=False)
    policy_afterwards = models.CharField(max_length=12, choices=RecipientPolicy, blank=True, db_default="", editable=False)
    # Counts every change of policy and allowed addresses; and the versions since which it was never narrower than named.
    policy_version = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    listed_since = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    open_since = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        ordering = ["order", "name"]
        # What a stage may do depends on whether it is Production.
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=("development", "non_production", "production")), name="stage_kind"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_production(self) -> bool:
        return self.kind == self.Kind.PRODUCTION

    @property
    def says_production(self) -> bool:
        """Whether its name is “Production”, so that a badge would only repeat it."""
        return self.is_production and self.name.casefold() == self.Kind.PRODUCTION.label.casefold()


class AllowedAddress(models.Model):
    """An address or a whole domain that may get email of its own from a stage. Saved through recipient_policy.changes."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="allowed_addresses")
    pattern = models.CharField("address or domain", max_length=ADDRESS_MAX_LENGTH)
    until = models.DateTimeField(null=True, blank=True)
    # The stage's policy_version since which it is allowed: email that was accepted before isn't freed by it.
    version = models.PositiveIntegerField(default=0, editable=False)
    created = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=360, blank=True, editable=False)

    class Meta:
        verbose_name = "allowed address"
        verbose_name_plural = "allowed addresses"
        ordering = ["pattern"]
        constraints = [models.UniqueConstraint(fields=["stage", "pattern"], name="allowed_address_once_per_stage")]

    def __str__(self) -> str:
        return self.pattern

    def is_expired(self, now: datetime) -> bool:
        return self.until is not None and self.until <= now

    def clean(self) -> None:
        try:
            self.pattern = normalize_pattern(self.pattern)
        except ValidationError as error:
            raise ValidationError({"pattern": error}) from error


class KeptHeader(models.Model):
    """A header field that test mail of a stage keeps, besides those of all test mail.

    It is saved through kept_headers.
    """

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="kept_headers")
    name = models.CharField(
        max_length=76,
        validators=[validate_kept_header],
        help_text="The exact name of a field that apps write for themselves, such as “X-Acme-Order”.",
    )
    created = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=360, blank=True, editable=False)

    class Meta:
        verbose_name = "kept header field"
        ordering = [Lower("name")]
        constraints = [
            models.UniqueConstraint(
                "stage",
                Lower("name"),
                name="kept_header_once_per_stage",
                violation_error_message="Test mail of this stage already keeps this field.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Apps(models.QuerySet["App"]):
    def without_built_in(self) -> Apps:
        """The organization's own apps."""
        return self.exclude(key=App.BUILT_IN_KEY)


class App(VersionedModel, ImmutableKeyModel):
    """An application of the organization that sends messages through the portal."""

    # The portal itself, whose emails to members are an app's (see accounts.own_mail). No other app can have this key.
    BUILT_IN_KEY = "_portal"

    class Colour(models.TextChoices):
        VIOLET = "violet", "Violet"
        BLUE = "blue", "Blue"
        TEAL = "teal", "Teal"
        GREEN = "green", "Green"
        AMBER = "amber", "Amber"
        RED = "red", "Red"
        PINK = "pink", "Pink"
        SLATE = "slate", "Slate"

    key = models.SlugField(
        max_length=40,
        unique=True,
        validators=[validate_key],
        help_text="Lower-case letters, digits and hyphens, such as “crm”. It can't be changed later.",
    )
    name = models.CharField(max_length=60, validators=[validate_one_line])
    description = models.CharField(max_length=200, blank=True, validators=[validate_one_line])
    colour = models.CharField("icon colour", max_length=10, choices=Colour, default=Colour.VIOLET)
    archived = models.BooleanField(default=False)

    RESERVED_KEYS = frozenset({"new"})  # /apps/new/ is a page

    objects = Apps.as_manager()

    class Meta:
        ordering = [Lower("name"), "key"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        super().clean()
        if self.key in self.RESERVED_KEYS:
            raise ValidationError({"key": f"“{self.key}” is used in the portal's own URLs. Choose another key."})

    @property
    def is_built_in(self) -> bool:
        return self.key == self.BUILT_IN_KEY

    @property
    def initials(self) -> str:
        words = self.name.split()
        return (words[0][0] + words[1][0] if len(words) > 1 else self.name[:2]).upper()


def validate_networks(text: str) -> None:
    """Check a list of networks or addresses, separated by commas or spaces. Raises ValidationError."""
    for part in text.replace(",", " ").split():
        try:
            ip_network(part)
        except ValueError as error:
            hint = "Enter networks as 10.0.0.0/8 or addresses as 192.0.2.7, separated by commas."
            raise ValidationError(f"“{part}” is not a network. {hint}", code="invalid") from error


class Credential(VersionedModel):
    """A username and secret with which an app signs in, for one stage.

    It is for the gateway (and the API). The secret has 256 random bits and is shown once. Only its SHA-256 is stored (see
    credentials.py).
    """

    app = models.ForeignKey(App, on_delete=models.PROTECT, related_name="credentials")
    stage = models.ForeignKey(Stage, on_delete=models.PROTECT, related_name="credentials")
    name = models.CharField(
        max_length=60, default="Default", validators=[validate_one_line], help_text="Where it is used, such as “web server”."
    )
    ends = models.DateField(
        "last day", null=True, blank=True, help_text="The last day on which apps can sign in with it (UTC). Empty: no end."
    )
    networks = models.CharField(
        "allowed client networks",
        max_length=400,
        blank=True,
        db_default="",
        validators=[validate_networks],
        help_text="From where apps can sign in with it, such as 10.0.0.0/8, 192.0.2.7. Empty: from anywhere.",
    )
    username = models.CharField(max_length=100, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    created = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.CharField(max_length=200, blank=True, editable=False)
    last_used = models.DateTimeField(null=True, editable=False)
    last_used_from = models.CharField(max_length=45, blank=True, db_default="", editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created", "-pk"]

    def __str__(self) -> str:
        return self.username

    @property
    def revoked(self) -> bool:
        return self.revoked_at is not None

    @property
    def is_expired(self) -> bool:
        """Whether its last day has passed."""
        return self.ends is not None and self.ends < timezone.now().astimezone(UTC).date()

    def allows_client(self, address: str) -> bool:
        """Whether a client with this IP address may sign in with it."""
        networks = self.networks.replace(",", " ").split()
        return not networks or any(ip_address(address) in ip_network(network) for network in networks)


class Installation(models.Model):
    """The seal: the installation and the database that everything here belongs to (see installation.seal). One row at most."""

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY, editable=False)
    # The identity as JSON (see installation.identity).
    seal = models.TextField(editable=False)
    sealed = models.DateTimeField(db_default=Now(), editable=False)
    # Who noticed last that this is a copy, and when. What had come with the copy by then: the time of the latest activity, and
    # the last email. They stay after the answer, for those who look at the copy's emails.
    noticed_by = models.TextField(blank=True, db_default="", editable=False)
    noticed = models.DateTimeField(null=True, editable=False)
    backup_time = models.DateTimeField(null=True, editable=False)
    last_message = models.PositiveBigIntegerField(null=True, editable=False)

    class Meta:
        verbose_name = "installation"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="installation_only_one")]

    def __str__(self) -> str:
        return "This installation"


_APPEND_ONLY = "The audit trail is append-only."


class AuditTrail(NoBulkUpdate["AuditEvent"]):
    """Events that can only be read and added. Triggers hold everything else to it too (see audit.append_only)."""

    refusal = _APPEND_ONLY

    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError(_APPEND_ONLY)


class AuditEvent(models.Model):
    """An action that changed configuration or is worth recording.

    Only audit.record() writes events, and they are never changed.
    """

    class Status(models.TextChoices):
        SUCCEEDED = "succeeded", "Succeeded"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"

    class Operation(models.TextChoices):
        """What may be done. The values are stored: filters and exports name them."""

        CREATE = "Create", "Create"
        UPDATE = "Update", "Update"
        DELETE = "Delete", "Delete"
        REVOKE = "Revoke", "Revoke"
        CHANGE_PASSWORD = "Change password", "Change password"
        INVITE = "Invite", "Invite"
        ACCEPT_INVITATION = "Accept invitation", "Accept invitation"
        REQUEST_PASSWORD_RESET = "Request password reset", "Request password reset"
        RESET_PASSWORD = "Reset password", "Reset password"
        CHANGE_RECIPIENT_POLICY = "Change recipient policy", "Change recipient policy"
        ROTATE_KEY = "Rotate key", "Rotate key"
        TEST = "Test", "Test"
        SEND_TEST_MESSAGE = "Send test mail", "Send test mail"
        EXPORT = "Export", "Export"
        RESUME_DELIVERIES = "Resume deliveries", "Resume deliveries"
        PAUSE = "Pause", "Pause"
        RESUME = "Resume", "Resume"
        DELIVER_HELD = "Deliver held emails", "Deliver held emails"
        KEEP_HELD = "Keep held emails", "Keep held emails"
        DISCARD_HELD = "Discard held emails", "Discard held emails"
        RETRY = "Retry", "Retry"
        CANCEL = "Cancel", "Cancel"
        RELEASE_TO_REAL_RECIPIENTS = "Release to real recipients", "Release to real recipients"
        RESEND = "Resend", "Resend"
        RESEND_TO_REAL_RECIPIENTS = "Resend to real recipients", "Resend to real recipients"
        FORWARD_TO_TEST_LIST = "Forward to test list", "Forward to test list"
        FORWARD_TO_ONESELF = "Forward to oneself", "Forward to oneself"
        EMPTY_INBOX = "Empty inbox", "Empty inbox"
        REPLACE_ORIGINAL = "Replace the original", "Replace the original"
        MAKE_TEST_COPY = "Make a test copy", "Make a test copy"
        VIEW_AS = "View as member", "View as member"
        USE_RECOVERY_CODE = "Use recovery code", "Use recovery code"
        REMOVE_SECOND_FACTORS = "Remove second factors", "Remove second factors"
        SIGN_IN = "Sign in", "Sign in"
        SIGN_OUT = "Sign out", "Sign out"

    at = models.DateTimeField(default=timezone.now)
    # Stays when the member is deleted: an event is never changed, and `actor_name` says who it was.
    actor = models.ForeignKey(Member, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="audit_events")
    actor_name = models.CharField(max_length=360)
    operation = models.CharField(max_length=60, choices=Operation)
    entity = models.CharField(max_length=60)
    entity_id = models.CharField(max_length=60, blank=True)
    entity_name = models.CharField(max_length=400, blank=True)
    app = models.ForeignKey(App, on_delete=models.PROTECT, null=True, related_name="+")
    stage = models.ForeignKey(Stage, on_delete=models.PROTECT, null=True, related_name="+")
    status = models.CharField(max_length=10, choices=Status, default=Status.SUCCEEDED)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    request_id = models.CharField(max_length=64, blank=True)

    objects = AuditTrail.as_manager()

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [
            models.Index(fields=["at", "id"], name="audit_newest_first"),
            models.Index(fields=["operation", "id"], name="audit_by_operation"),
            models.Index(fields=["entity", "id"], name="audit_by_entity"),
            models.Index(fields=["actor_name", "id"], name="audit_by_actor"),
            models.Index(fields=["status", "id"], name="audit_by_status"),
            # For the guarantee, which else reads the whole trail: when each list was Active (most changes of lists are of their
            # addresses), and what was sent on purpose. Only PostgreSQL uses them: SQLite chooses an index before it knows the
            # parameters.
            models.Index(
                fields=["stage", "at"],
                condition=models.Q(entity="test list")
                & (models.Q(operation="Create") | models.Q(before__has_any_keys=["active", "active_until"])),
                name="audit_list_activity",
            ),
            models.Index(
                fields=["stage", "at"],
                condition=models.Q(
                    operation__in=[
                        *("Release to real recipients", "Resend to real recipients"),
                        *("Forward to test list", "Forward to oneself"),
                    ]
                ),
                name="audit_acts",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.entity} {self.entity_name} by {self.actor_name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk:
            raise TypeError(_APPEND_ONLY)
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError(_APPEND_ONLY)
