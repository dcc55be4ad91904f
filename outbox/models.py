"""Messages that were accepted, where they were routed, and what became of them.

`Message` is the narrow row that workers claim. `Content` has the app's bytes, which never change. `Recipient` is one address
that is delivered to. The states of the recipients are summed up on the message.
"""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from common.addresses import ADDRESS_MAX_LENGTH
from common.text import validate_one_line
from emailconfig.connection import meaning_of
from emailconfig.connection.explanations import EXPLANATIONS, SAYS_NOTHING, Explanation
from organization.models import App, Credential, Stage
from outbox.attempt_outcome import AttemptOutcome


class Status(models.TextChoices):
    """The status of a message, or of one of its recipients."""

    QUEUED = "queued", "Queued"
    SENDING = "sending", "Sending"  # claimed by a worker: may be on the wire
    DEFERRED = "deferred", "Deferred"  # tried, will be tried again
    SENT = "sent", "Sent"
    FAILED = "failed", "Failed"
    HELD = "held", "Held"  # waits for a person or for its cause to go away
    CAPTURED = "captured", "Captured"  # kept here: the stage's policy lets no one get it


WAITING = (Status.QUEUED, Status.DEFERRED)
FINAL = (Status.SENT, Status.FAILED, Status.CAPTURED)
# The beginning of a recipient's last reply when it was tried often enough, although no server rejected it.
GIVEN_UP = "Given up"


class RouteKind(models.TextChoices):
    TEST_LIST = "test_list", "Test list"
    RECIPIENTS = "recipients", "Recipients"
    RELEASED = "released", "Released to real recipients"  # by a person, whatever the test list says
    ALLOWED = "allowed", "Allowed addresses"  # of the stage, with the header of test mail
    CAPTURED = "captured", "Captured"
    FORWARDED = "forwarded", "Forwarded as test mail"  # a captured message, by a person, to the test list or to themselves


class Rule(models.TextChoices):
    """Why a recipient gets the message, or doesn't. Kept on each recipient."""

    AS_APPS_ASK = "real", "Recipient that the app gave"
    TEST_LIST = "list", "Test list"
    ALLOWED = "allowed", "Allowed address"
    RELEASED = "released", "Released by a person"
    CAPTURED = "captured", "Captured"
    FORWARDED = "forwarded", "Forwarded by a person"


class HoldReason(models.TextChoices):
    STAGE_NOT_CONFIGURED = (
        "stage_not_configured",
        "The stage has no SMTP settings, or nobody has decided about this email since they were saved. See Management, Emails.",
    )
    TEST_LIST_EMPTY = (
        "test_list_empty",
        "The test list is Active but nobody is on it. Adding a person releases this email to the list.",
    )
    TEST_LIST_MISSING = (
        "test_list_missing",
        "The test list is missing from the database, so nobody knows whether it was Active. "
        "Saving it again with a person on it releases this email to the list.",
    )
    LIST_EXPIRED = (
        "list_time_over",
        "The test list has expired. Extend it, and this email goes to the list, or deactivate it and decide about this email.",
    )
    PAUSED = "paused", "A person paused the emails of this stage or app. After Resume a person decides about this email."
    WAITED_TOO_LONG = (
        "waited_too_long",
        "It waited for more than two days for the stage's SMTP server, so a person decides whether it is sent.",
    )
    COPY = (
        "copy",
        "It came with a copied database before it was sent, and the original may have sent it. A person decides under "
        "Management, Installation.",
    )
    KEPT = "kept", "A person looked at the held emails and kept them. They can be delivered or discarded later."


# The reasons that a change of the test list ends.
LIST_REASONS = (HoldReason.TEST_LIST_EMPTY, HoldReason.TEST_LIST_MISSING, HoldReason.LIST_EXPIRED)
# What a person answers for together, once the cause is gone (see held_mail).
ASKING_REASONS = (
    HoldReason.STAGE_NOT_CONFIGURED,
    HoldReason.LIST_EXPIRED,
    HoldReason.PAUSED,
    HoldReason.WAITED_TOO_LONG,
    HoldReason.KEPT,
)


class Source(models.TextChoices):
    """How a message was received."""

    GATEWAY = "gateway", "SMTP gateway"
    BACKEND = "backend", "Django"
    COMMAND = "command", "Command line"
    PORTAL = "portal", "Portal (test mail)"
    RESEND = "resend", "Resend"
    OWN = "own", "Portal (its own email)"  # to members: invitations, password resets, reminders


class Message(models.Model):
    # These have no index of their own. The indexes of the queue and the log cover them, and each index slows every message down.
    app = models.ForeignKey(App, on_delete=models.PROTECT, related_name="+", db_index=False)
    stage = models.ForeignKey(Stage, on_delete=models.PROTECT, related_name="+", db_index=False)
    credential = models.ForeignKey(Credential, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    via = models.CharField(max_length=10, choices=Source)
    created = models.DateTimeField(db_default=Now())

    # What the app asked for.
    envelope_sender = models.CharField(max_length=ADDRESS_MAX_LENGTH, blank=True)
    requested = models.JSONField(default=list)
    from_address = models.CharField(max_length=ADDRESS_MAX_LENGTH, blank=True)
    subject = models.CharField(max_length=500, blank=True)
    message_id = models.CharField(max_length=998)
    size = models.PositiveIntegerField()
    # Whether it holds an invitation. Its attendees are named in the body, which no routing changes.
    invitation = models.BooleanField(db_default=False, default=False)
    search_text = models.TextField(blank=True)

    # Where it was routed, and why. That is decided at acceptance, and checked again when it is claimed, only toward safer.
    route = models.CharField(max_length=10, choices=RouteKind)
    # The versions of the test list and of the stage's recipient policy that decided the route.
    list_version = models.PositiveIntegerField(default=0)
    policy_version = models.PositiveIntegerField(default=0, db_default=0)
    notes = models.JSONField(default=list)

    # The numbers of the message that this one repeats, and of the last that repeats this one. No foreign keys, because either
    # may be pruned.
    resent_from = models.PositiveBigIntegerField(null=True)
    resent_as = models.PositiveBigIntegerField(null=True)

    # Its delivery.
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    hold_reason = models.CharField(max_length=30, choices=HoldReason, blank=True)
    due = models.DateTimeField(db_default=Now())
    # While it is being sent: the name of the worker's claim (see leases), and until when the lease lasts.
    owner = models.CharField(max_length=40, blank=True)
    lease_until = models.DateTimeField(null=True)
    # The server refused its lines for their length, so its long parts leave re-encoded from now on.
    short_lines = models.BooleanField(default=False, db_default=False)

    class Meta:
        ordering = ["-created", "-pk"]
        indexes = [
            models.Index(fields=["stage", "status", "due", "id"], name="message_queue"),
            models.Index(fields=["stage", "id"], name="message_log"),
            # Few messages are held, so it costs the others nothing. A stage may hold thousands that wait for a person.
            models.Index(
                fields=["hold_reason", "route", "stage", "app"], condition=models.Q(status=Status.HELD), name="message_held"
            ),
            models.Index(fields=["owner"], condition=models.Q(status=Status.SENDING), name="message_claimed"),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(status__in=Status.values), name="message_status"),
            models.CheckConstraint(condition=models.Q(route__in=RouteKind.values), name="message_route"),
            models.CheckConstraint(
                condition=~models.Q(status=Status.SENDING) | ~models.Q(owner=""), name="message_sending_has_owner"
            ),
            models.CheckConstraint(
                condition=models.Q(models.Q(status=Status.HELD), ~models.Q(hold_reason=""))
                | models.Q(~models.Q(status=Status.HELD), models.Q(hold_reason="")),
                name="message_held_has_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.subject or '(no subject)'}"

    @property
    def is_own(self) -> bool:
        """Whether the portal wrote it to a member. It may hold a link that lets its reader in, so it is shown to nobody else."""
        return self.via == Source.OWN


class Content(models.Model):
    """The message as the app gave it, with CRLF line ends (RFC 5321 section 2.3.8). Never changed."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, primary_key=True, related_name="content")
    data = models.BinaryField()

    def __str__(self) -> str:
        return f"Content of #{self.message_id}"


class Refusal(models.Model):
    """A message that was not accepted. Only the newest are kept (see refusals)."""

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="+", db_index=False)
    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+", db_index=False)
    credential = models.ForeignKey(Credential, on_delete=models.CASCADE, null=True, related_name="+")
    via = models.CharField(max_length=10, choices=Source)
    at = models.DateTimeField(default=timezone.now)
    step = models.CharField(max_length=10)
    address = models.CharField(max_length=ADDRESS_MAX_LENGTH, blank=True)
    reply = models.CharField(max_length=500)

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["app", "stage", "id"], name="refusal_newest")]

    def __str__(self) -> str:
        return f"{self.step} {self.reply}"


class Recipient(models.Model):
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="recipients", db_index=False)
    address = models.CharField(max_length=ADDRESS_MAX_LENGTH)
    name = models.CharField(max_length=100, blank=True)
    rule = models.CharField(max_length=10, choices=Rule, blank=True, db_default="")
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    due = models.DateTimeField(db_default=Now())
    tries = models.PositiveSmallIntegerField(default=0)
    last_reply = models.TextField(blank=True)
    finished = models.DateTimeField(null=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["message", "address"], name="recipient_once_per_message"),
            # The type of the field `tries` prevents negative numbers.
            models.CheckConstraint(condition=models.Q(status__in=Status.values), name="recipient_status"),
        ]

    def __str__(self) -> str:
        return self.address


class Attempt(models.Model):
    """One try to send a message to the stage's server for one address, with the server's own words."""

    Outcome = AttemptOutcome

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="attempts")
    address = models.CharField(max_length=ADDRESS_MAX_LENGTH)
    # By which rule it was tried, and when the message was claimed for it, which is when policy and list were asked last. Empty
    # on the tries of older versions; a worker that died leaves no time.
    rule = models.CharField(max_length=10, choices=Rule, blank=True, default="", db_default="")
    claimed = models.DateTimeField(null=True)
    created = models.DateTimeField(db_default=Now())
    outcome = models.CharField(max_length=10, choices=Outcome)
    step = models.CharField(max_length=20, blank=True)
    code = models.PositiveSmallIntegerField(null=True)
    reply = models.TextField(blank=True)
    server = models.CharField(max_length=262, blank=True)
    settings_version = models.PositiveIntegerField(null=True)
    seconds = models.FloatField(default=0)

    class Meta:
        ordering = ["pk"]
        constraints = [models.CheckConstraint(condition=models.Q(outcome__in=AttemptOutcome.values), name="attempt_outcome")]

    @property
    def meaning(self) -> Explanation | None:
        """What the server's words mean and what to do; None when they don't tell."""
        if self.code is None or self.outcome == self.Outcome.SENT:
            return None
        code = meaning_of(self.step, self.reply)
        return None if code in SAYS_NOTHING else EXPLANATIONS[code]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()}: {self.address}"


class HandOverCapture(models.Model):
    """A recipient whose copy was captured only when the message was about to leave. What counts captured copies reads it."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+")
    address = models.CharField(max_length=ADDRESS_MAX_LENGTH)
    created = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "capture at hand-over"
        verbose_name_plural = "captures at hand-over"
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"Captured: {self.address}"


class Pause(models.Model):
    """A person's brake on the emails of a stage, or of one app in it: they are accepted and held. Changed by pauses alone."""

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="pauses", db_index=False)
    app = models.ForeignKey(App, on_delete=models.CASCADE, null=True, related_name="+", db_index=False)
    since = models.DateTimeField(db_default=Now())
    by = models.CharField(max_length=360)
    reason = models.CharField(max_length=200, validators=[validate_one_line])
    # Whether other mail waited for an answer when it began: then its end asks, too, however short it was.
    asks = models.BooleanField(db_default=False, default=False)

    class Meta:
        ordering = ["stage", "app"]
        constraints = [
            models.UniqueConstraint(fields=["stage", "app"], name="pause_once_per_app"),
            models.UniqueConstraint(fields=["stage"], condition=models.Q(app=None), name="pause_once_per_stage"),
        ]

    @property
    def place(self) -> str:
        return f"{self.app} in {self.stage}" if self.app else str(self.stage)

    def __str__(self) -> str:
        return f"Pause of {self.place}"


class HeldAnswer(models.Model):
    """What a person decided about the held emails of a stage, or of one app in it, until all of it is carried out."""

    class Choice(models.TextChoices):
        DELIVER = "deliver", "Deliver"
        KEEP = "keep", "Keep"
        DISCARD = "discard", "Discard"

    stage = models.ForeignKey(Stage, on_delete=models.CASCADE, related_name="+")
    app = models.ForeignKey(App, on_delete=models.CASCADE, null=True, related_name="+", db_index=False)
    choice = models.CharField(max_length=10, choices=Choice)
    # Of which hold reasons, and how those end who don't get it.
    reasons = models.JSONField(default=list)
    words = models.CharField(max_length=600, blank=True)
    # Email that was accepted later isn't part of it.
    until = models.DateTimeField()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.get_choice_display()}: {self.stage}"
