"""What a person does about one message: retry it now, cancel it, release it, resend it.

Every entry point ends here. Each action checks the permission and the message, changes it and writes the audit trail, all in
one transaction. The message's row is locked and read again first, so that no worker claims it meanwhile and no other person
acts on it. A message that is being sent stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from common.addresses import NamedAddress, is_address, same_address_key
from common.clock import database_now
from emailconfig.services import settings_of
from organization import audit
from organization.access import Actor, Scope, allowed, require
from organization.models import Member, Stage
from organization.permissions import Permission
from organization.recipient_policy.policy import RecipientPolicy
from organization.recipient_policy.reading import policy_of
from outbox import event_log
from outbox.exceptions import SubmissionRefused
from outbox.models import FINAL, LIST_REASONS, WAITING, Content, Message, Recipient, RouteKind, Rule, Source, Status
from outbox.routing import Route, release, route_resent
from outbox.states import sum_up
from outbox.submission import Envelope, submit
from outbox.values import Resend
from testlists.services import test_list_of
from testlists.state import state_of

CANCELLABLE = (*WAITING, Status.HELD)
_BEING_SENT = "The email is being sent to the server right now. Try again in a moment."
_FINISHED = "The email is finished: no recipient waits any more."
_HELD = "The email is held. When the reason is gone, test mail is sent, and a person is asked about other email."
_DUE = "The email is due already. A worker sends it as soon as it can."
_NOT_HELD = "The email isn't held any more, so nothing was released. Check its status now."
_NOWHERE_TO_SEND = "{} has no SMTP settings, so there is nowhere to send the email. Set it up under Management, Emails first."
_UNDER_WAY = "The email is not finished yet, so resending it could deliver it twice. Wait for it, or cancel it first."
_RESENT_MEANWHILE = "The email was resent as #{} after you opened the page. Nothing was sent again; look at that email first."
_NO_CONTENT = "The content of the email isn't kept any more, so it can't be resent."
_EVERYBODY_GOT_IT = "Everybody who would get the email now got it already. Choose “Everybody” to send it again."
_NOT_CAPTURED = "Only captured email is forwarded as test mail, and this email isn't captured."
_OWN = "The portal's own emails are never sent again or forwarded. Send the member a new link on their page."
_NOBODY_LISTED = "Nobody is on the test list. Add a person to it first."
_CAPTURES_ALL = "{} captures all email, so nothing is sent to real recipients. Change its recipient policy first."


def retry_now(message: Message, actor: Actor) -> Message:
    """Make the recipients that wait for their next try due at once. Returns the message as it is then.

    Raises PermissionDenied, and ValidationError when none waits for a try. Then nothing is changed.
    """
    require(actor, _scope(message), Permission.RESEND_MAIL)
    with transaction.atomic():
        mail = _locked(message)
        _refuse_if(why_not_retry(mail))
        waiting = mail.recipients.filter(status__in=WAITING)
        addresses = _addresses(waiting)
        waiting.update(due=database_now())
        sum_up(mail)
        audit.record(actor, audit.Operation.RETRY, mail, after={"recipients": addresses})
    return mail


def cancel(message: Message, actor: Actor) -> Message:
    """End the recipients that wait or are held as failed. Returns the message as it is then.

    Recipients who got the message stay sent. Raises PermissionDenied, and ValidationError when no recipient waits or the
    message is being sent. Then nothing is changed.
    """
    require(actor, _scope(message), Permission.RESEND_MAIL)
    with transaction.atomic():
        mail = _locked(message)
        _refuse_if(why_not_cancel(mail))
        waiting = mail.recipients.filter(status__in=CANCELLABLE)
        addresses, words = _addresses(waiting), f"Cancelled by {actor.name}."
        waiting.update(status=Status.FAILED, last_reply=words, finished=database_now())
        mail.hold_reason = ""
        mail.notes = [*mail.notes, words]
        sum_up(mail)
        audit.record(actor, audit.Operation.CANCEL, mail, after={"recipients": addresses})
        transaction.on_commit(lambda: event_log.ended(mail, "email_failed", words), robust=True)
    return mail


def release_held(message: Message, actor: Actor) -> Message:
    """Release test mail that is held for an empty or missing list to its real recipients. Returns the message as it is then.

    It goes to the recipients the app gave, whatever the list says now or later. That is so for this one message alone. The
    recipients who got it, or were refused, before it was held keep their status.

    Raises PermissionDenied, and ValidationError when it isn't held for that or its stage has no server. Then nothing is changed.
    """
    require(actor, _scope(message), Permission.RESEND_TO_REAL_RECIPIENTS)
    with transaction.atomic():
        mail = _locked(message)
        _refuse_if(why_not_release(mail))
        mail.recipients.exclude(status__in=FINAL).delete()
        missing = [
            Recipient(message=mail, address=address, rule=Rule.RELEASED, due=database_now())
            for address in release_addresses(mail)
        ]
        Recipient.objects.bulk_create(missing)
        # The person decides under the policy as it is now: what it was before doesn't capture the message.
        mail.route, mail.hold_reason, mail.policy_version = RouteKind.RELEASED, "", policy_of(mail.stage).version
        mail.save(update_fields=["route", "policy_version"])
        words = f"Released to the real recipients by {actor.name}: the test list doesn't catch this email."
        mail.notes = [*mail.notes, words]
        sum_up(mail)
        after = {"route": mail.get_route_display(), "recipients": [recipient.address for recipient in missing]}
        audit.record(actor, audit.Operation.RELEASE_TO_REAL_RECIPIENTS, mail, after=after)
    return mail


def resend(message: Message, actor: Actor, *, known_resend: int | None = None, missing_only: bool = False) -> Message:
    """Submit the message again, as a new one that is routed as of now. Test mail stays test mail. Returns the new message.

    With `missing_only` the addresses that got it, or got one that it repeats, don't get it again.
    `known_resend` is the number of the latest resent message that the person knew of, 0 for none. None skips that check.
    Raises PermissionDenied, and ValidationError when the message isn't finished, was resent meanwhile, or isn't accepted again.
    Then nothing is stored.
    """
    require(actor, _scope(message), Permission.RESEND_MAIL)
    reached = reached_by([message])[message.pk] if missing_only else frozenset()
    return _resend(audit.Operation.RESEND, message, actor, known_resend, released=False, reached=reached)


def resend_to_real_recipients(message: Message, actor: Actor, *, known_resend: int | None = None) -> Message:
    """As resend(), but to the recipients the app gave, whatever the test list says now or later. For this one message alone."""
    require(actor, _scope(message), Permission.RESEND_TO_REAL_RECIPIENTS)
    return _resend(audit.Operation.RESEND_TO_REAL_RECIPIENTS, message, actor, known_resend, released=True)


def send_to_test_list(message: Message, actor: Actor) -> Message:
    """Send a captured message as test mail to the people on its app's test list. Returns the new message.

    It goes to exactly these addresses, also while the list is Inactive, and under every policy.
    Raises PermissionDenied; ValidationError when the message isn't captured, the list is empty, or there is nowhere to send it.
    """
    require(actor, _scope(message), Permission.RESEND_MAIL)
    people = tuple(test_list_of(message.app, message.stage).people())
    _refuse_if("" if people else _NOBODY_LISTED)
    return _forward(audit.Operation.FORWARD_TO_TEST_LIST, message, actor, people)


def send_to_me(message: Message, member: Member) -> Message:
    """As send_to_test_list(), but to the member's own sign-in address.

    It shows them the content, so they need the permission for that too.
    """
    require(member, _scope(message), Permission.RESEND_MAIL)
    require(member, _scope(message), Permission.ACCESS_USER_INFORMATION)
    return _forward(audit.Operation.FORWARD_TO_ONESELF, message, member, (NamedAddress(member.email, member.name),))


def _forward(operation: audit.Operation, message: Message, actor: Actor, people: tuple[NamedAddress, ...]) -> Message:
    with transaction.atomic():
        original = _locked(message)
        _refuse_if(why_not_forward(original))
        forwarded = _submit_again(original, Resend(original, actor.name, forwarded_to=people))
        original.notes = [*original.notes, f"Forwarded as #{forwarded.pk} by {actor.name}, as test mail."]
        original.save(update_fields=["notes"])
        after = {"forwarded_as": forwarded.pk, "recipients": [person.email for person in people]}
        audit.record(actor, operation, original, after=after)
    return forwarded


def _resend(
    operation: audit.Operation,
    message: Message,
    actor: Actor,
    known_resend: int | None,
    *,
    released: bool,
    reached: frozenset[str] = frozenset(),
) -> Message:
    with transaction.atomic():
        original = _locked(message)
        _refuse_if(why_not_resend_to_real_recipients(original) if released else why_not_resend(original))
        _refuse_if(_EVERYBODY_GOT_IT if reached and resend_route(original, reached).reaches_nobody else "")
        if known_resend is not None and known_resend != (original.resent_as or 0):
            raise ValidationError(_RESENT_MEANWHILE.format(original.resent_as), code="stale")
        mail = _submit_again(original, Resend(original, actor.name, released, reached=reached))
        original.resent_as = mail.pk
        original.notes = [*original.notes, f"Resent as #{mail.pk} by {actor.name}."]
        original.save(update_fields=["resent_as", "notes"])
        after = {"resent_as": mail.pk, "route": mail.get_route_display(), "recipients": _addresses(mail.recipients.all())}
        audit.record(actor, operation, original, after=after)
    return mail


def _submit_again(original: Message, resent: Resend) -> Message:
    content = Content.objects.filter(message=original).first()
    if content is None:
        raise ValidationError(_NO_CONTENT)
    try:
        envelope = envelope_again(original, resent)
        return submit(original.app, original.stage, envelope, bytes(content.data), via=Source.RESEND, resent=resent)
    except SubmissionRefused as refused:  # the stage or the app was archived, or the limits are others now
        raise ValidationError(refused.text) from refused


def envelope_again(original: Message, resent: Resend) -> Envelope:
    """The envelope of a message that repeats this one: without those whom it need not name any more."""
    requested = reachable(original) if resent.forwarded_to else original.requested
    missing = [address for address in requested if same_address_key(address) not in resent.reached]
    return Envelope(original.envelope_sender, missing or requested)


def reached_by(messages: Collection[Message]) -> dict[int, frozenset[str]]:
    """By message, the addresses that got it, or got a message that it repeats, as same_address_key has them."""
    reached: dict[int, set[str]] = {message.pk: set() for message in messages}
    repeated = {message.pk: message.pk for message in messages}  # by message: the one of its chain that is read next
    while repeated:
        rows = Recipient.objects.filter(message__in=set(repeated.values()), status=Status.SENT).order_by()
        addresses: dict[int, set[str]] = {}
        for number, address in rows.values_list("message_id", "address"):
            addresses.setdefault(number, set()).add(same_address_key(address))
        for number, source in repeated.items():
            reached[number] |= addresses.get(source, set())
        sources = Message.objects.filter(pk__in=set(repeated.values())).order_by().values_list("pk", "resent_from")
        before = {number: source for number, source in sources if source is not None}
        repeated = {number: before[source] for number, source in repeated.items() if source in before}
    return {number: frozenset(keys) for number, keys in reached.items()}


def why_not_retry(message: Message) -> str:
    """Why the message can't be retried now, in words; empty when it can."""
    if message.status in WAITING:
        later = message.recipients.filter(status__in=WAITING, due__gt=database_now()).exists()
        return "" if later else _DUE
    return {Status.HELD: _HELD, Status.SENDING: _BEING_SENT}.get(Status(message.status), _FINISHED)


def why_not_cancel(message: Message) -> str:
    """Why the message can't be cancelled, in words; empty when it can."""
    if message.status in CANCELLABLE:
        return ""
    return _BEING_SENT if message.status == Status.SENDING else _FINISHED


def why_not_release(message: Message) -> str:
    """Why the held message can't be released to its real recipients, in words; empty when it can."""
    if message.status != Status.HELD:
        return _NOT_HELD
    if settings_of(message.stage) is None:
        return _NOWHERE_TO_SEND.format(message.stage)
    if message.hold_reason not in LIST_REASONS:
        return _HELD
    return _why_captured(message.stage)


def release_addresses(message: Message) -> list[str]:
    """Who gets the held message once it is released: the recipients that the app named and that aren't finished yet."""
    done = {same_address_key(address) for address in _addresses(message.recipients.filter(status__in=FINAL))}
    return [person.email for person in release(message.requested).people if same_address_key(person.email) not in done]


def why_not_forward(message: Message) -> str:
    """Why the message can't be sent to the test list or to oneself, in words; empty when it can."""
    if message.is_own:
        return _OWN
    if message.status not in FINAL or not message.recipients.filter(status=Status.CAPTURED).exists():
        return _NOT_CAPTURED
    return "" if settings_of(message.stage) else _NOWHERE_TO_SEND.format(message.stage)


def why_not_resend(message: Message) -> str:
    """Why the message can't be resent, in words; empty when it can."""
    if message.is_own:
        return _OWN
    return "" if message.status in FINAL else _UNDER_WAY


def why_not_resend_to_real_recipients(message: Message) -> str:
    """Why the message can't be resent past list and policy, in words; empty when it can."""
    return _why_captured(message.stage) or why_not_resend(message)


def _why_captured(stage: Stage) -> str:
    """Why no email of the stage reaches real recipients, in words; empty when it may."""
    return _CAPTURES_ALL.format(stage) if policy_of(stage).policy == RecipientPolicy.NOBODY else ""


@dataclass(frozen=True)
class AllowedActions:
    """What an actor may do about a message now."""

    retry: bool
    cancel: bool
    release_held: bool
    resend: bool
    resend_to_real_recipients: bool
    send_to_test_list: bool
    send_to_me: bool


def allowed_actions(message: Message, actor: Actor) -> AllowedActions:
    """What `actor` may do about the message now.

    Resending to real recipients is offered only where resend() would send the message to the test list.
    """
    may_act = allowed(actor, _scope(message), Permission.RESEND_MAIL)
    may_release = allowed(actor, _scope(message), Permission.RESEND_TO_REAL_RECIPIENTS)
    may_forward = may_act and not why_not_forward(message)
    resendable = not why_not_resend(message)
    return AllowedActions(
        retry=may_act and not why_not_retry(message),
        cancel=may_act and not why_not_cancel(message),
        release_held=may_release and not why_not_release(message),
        resend=may_act and resendable,
        resend_to_real_recipients=may_release and _goes_past(message),
        send_to_test_list=may_forward,
        send_to_me=may_forward and allowed(actor, _scope(message), Permission.ACCESS_USER_INFORMATION),
    )


def _goes_past(message: Message) -> bool:
    """Whether a release would reach more people than resend()."""
    return not why_not_resend_to_real_recipients(message) and resend_route(message).kind != RouteKind.RECIPIENTS


def resend_route(message: Message, reached: Collection[str] = ()) -> Route:
    """Where resend() would send the message now, without the addresses that got it already."""
    test_list = test_list_of(message.app, message.stage)
    missing = [address for address in reachable(message) if same_address_key(address) not in reached]
    route = route_resent(
        RouteKind(message.route),
        missing or reachable(message),
        state_of(test_list, database_now()),
        policy_of(message.stage),
    )
    return route.without(reached)


def reachable(message: Message) -> list[str]:
    """The recipients that the app named, without those that no email can reach (see envelope)."""
    return [address for address in message.requested if is_address(address)]


def _scope(message: Message) -> Scope:
    return Scope(message.app, message.stage)


def _locked(message: Message) -> Message:
    """The message as it is stored, locked until the transaction ends."""
    return Message.objects.select_for_update(of=("self",)).select_related("app", "stage").get(pk=message.pk)


def _refuse_if(reason: str) -> None:
    if reason:
        raise ValidationError(reason)


def _addresses(recipients: QuerySet[Recipient]) -> list[str]:
    return list(recipients.values_list("address", flat=True))
