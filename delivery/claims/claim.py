"""`queued → sending`: the short transaction that claims a connection's next messages.

It reads the stage's oldest due messages, locks their test lists, checks each route again, and marks the messages. After its
commit a message may reach exactly the addresses returned; before it, none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from common import sql
from common.addresses import NamedAddress, same_address_key
from common.clock import database_now, parse_db_time
from delivery import statements
from delivery.retry_schedule import too_late_before
from delivery.statements import DueMessage, MessageRecipient
from delivery.values import Claim, ClaimedMessage, DueRecipient
from organization.recipient_policy.policy import PolicyState, RecipientPolicy
from organization.recipient_policy.reading import query_policy
from outbox.actions import reached_by
from outbox.models import WAITING, HandOverCapture, HoldReason, Message, Recipient, RouteKind, Rule, Status
from outbox.routing import Route, RoutedPerson, StoredRoute, route_again
from outbox.search_text import with_recipients
from outbox.states import hold, hold_together, sum_up
from testlists.services import query_lists_for_claim
from testlists.state import NO_LIST, ListState, state_of

CAUGHT = "The test list became Active after the email was accepted, so the email goes to the people on the list instead."
NARROWED = "The stage's recipient policy became narrower after the email was accepted: only allowed addresses get it."
_LIST_MISSING = "The test list was missing when the email was about to be sent, so the email counts as test mail and is held."
_LIST_HAD_EXPIRED = "The test list had expired when the email was about to be sent, so the email counts as test mail and is held."
# All messages of a round may turn out to be held. This is how often the next ones are read instead, in one batch.
_CLAIM_ROUNDS = 50
ANY_NUMBER = 1_000_000


@dataclass
class _Recipients:
    """A message's recipients: how many in all, those that wait, and those that are due."""

    total: int = 0
    only_allowed: bool = True
    waiting: list[DueRecipient] = field(default_factory=list)
    due: list[DueRecipient] = field(default_factory=list)

    @property
    def allowed(self) -> list[str]:
        """The waiting recipients that get it as the stage's allowed addresses."""
        return [recipient.address for recipient in self.waiting if recipient.rule == Rule.ALLOWED]

    @property
    def never_tried(self) -> bool:
        return not any(recipient.tries for recipient in self.waiting)


@dataclass(frozen=True)
class Brakes:
    """What keeps a stage's due messages from being claimed.

    `paused`: the apps that a person paused; None stands for the whole stage. What is due since before `too_late_before` and was
    never tried has waited too long.
    """

    paused: frozenset[int | None]
    too_late_before: datetime | None

    def reason_to_hold(self, message: DueMessage, recipients: _Recipients) -> HoldReason | None:
        """Test mail never waits too long: it goes to nobody but the people on the list."""
        if self.paused & {None, message.app_id}:
            return HoldReason.PAUSED
        if self.too_late_before is None or message.route == RouteKind.TEST_LIST or not recipients.never_tried:
            return None
        return HoldReason.WAITED_TOO_LONG if parse_db_time(message.due) < self.too_late_before else None


def query_brakes(stage_id: int, now: datetime) -> Callable[[], Brakes]:
    """Read when it is called (see sql.query_lazy)."""
    rows = sql.query_lazy(statements.BRAKES, stage_id, stage_id)
    return lambda: _brakes(rows(), now)


def _brakes(rows: Sequence[statements.Brake], now: datetime) -> Brakes:
    since, ended = _time(rows[0].failing_since), _time(rows[0].too_late_before)
    times = [time for time in (too_late_before(since, now), ended) if time]
    paused = frozenset(row.app_id for row in rows if row.paused)
    return Brakes(paused, max(times, default=None))


def _time(value: datetime | str | None) -> datetime | None:
    return parse_db_time(value) if value else None


@dataclass(frozen=True)
class DueMessages:
    """A stage's due messages, up to `at_most`.

    The query runs in the caller's transaction, and the rows stay locked until it ends.
    """

    stage_id: int
    at_most: int
    read: Callable[[], list[DueMessage]]


def query_due(stage_id: int, at_most: int) -> DueMessages:
    """The oldest messages that were never tried or are tried again: each kind in the order of the index, however many wait."""
    answer = sql.query_lazy(statements.due_messages(_at_least(at_most)), *[stage_id] * len(WAITING))
    return DueMessages(stage_id, at_most, lambda: sorted(answer(), key=lambda mail: (mail.due, mail.pk))[:at_most])


def _at_least(count: int) -> int:
    """The limit to read with: the next of 1, 2, 3, 4, 6, 8, 12 and so on.

    With few limits PostgreSQL keeps few plans (see due_messages). The price is that a few more messages are read than claimed.
    """
    power = 1 << (count - 1).bit_length()
    less = power * 3 // 4
    return less if less >= count else power


def claim_due(
    due: DueMessages, claim: Claim, now: datetime, most_recipients: int = ANY_NUMBER, at_most: int | None = None
) -> list[ClaimedMessage]:
    """Claim what is due, oldest first, in the same transaction: all of it, or `at_most` of it.

    `now` must be read after `due`. A message to more than `most_recipients` is claimed for the first of them, and the others
    stay due.
    """
    for _ in range(_CLAIM_ROUNDS):
        if not (messages := due.read()[:at_most]):
            break
        if claimed := _claim(messages, due.stage_id, claim, now, most_recipients):
            return claimed
        due, now = query_due(due.stage_id, due.at_most), database_now()
    return []


def _claim(
    messages: Sequence[DueMessage], stage_id: int, claim: Claim, now: datetime, most_recipients: int
) -> list[ClaimedMessage]:
    """Claim these messages, whose test lists are locked. So what is read here stays true until the transaction ends."""
    read_lists = query_lists_for_claim({message.app_id for message in messages}, stage_id)
    read_policy, read_brakes = query_policy(stage_id), query_brakes(stage_id, now)
    read_recipients = _query_recipients([message.pk for message in messages], now)
    test_lists, policy, brakes, recipients_of = read_lists(), read_policy(), read_brakes(), read_recipients()
    messages = _hold_back(messages, brakes, recipients_of)
    states = {app_id: state_of(test_list, now) for app_id, test_list in test_lists.items()}
    claimed = []
    for due in messages:
        message, state, recipients = due, states.get(due.app_id, NO_LIST), recipients_of[due.pk]
        if not _route_still_holds(due, recipients, state, policy):
            message = _route_once_more(due, state, policy)
            recipients = _query_recipients([due.pk], now)()[due.pk]
        if recipients.due:
            recipients.due = one_transaction(recipients.due, most_recipients)
            tag_subject = state.exists and test_lists[due.app_id].tag_subject
            leaving = _claimed_message(message, claim.owner, recipients, state, policy, tag_subject=tag_subject)
            claimed.append(leaving._replace(claimed=now))
        else:
            sum_up(Message.objects.get(pk=due.pk))  # held or captured now, or not due after all
    _mark_as_sending(claimed, claim, now)
    return claimed


def _hold_back(messages: Sequence[DueMessage], brakes: Brakes, recipients_of: Mapping[int, _Recipients]) -> Sequence[DueMessage]:
    """Hold what is paused, and what waited too long for the server. Returns the others."""
    reasons = {message.pk: brakes.reason_to_hold(message, recipients_of[message.pk]) for message in messages}
    for reason in (HoldReason.PAUSED, HoldReason.WAITED_TOO_LONG):
        if held := [message.pk for message in messages if reasons[message.pk] == reason]:
            hold_together(held, messages[0].stage_key, reason)
    return [message for message in messages if reasons[message.pk] is None]


def one_transaction(recipients: list[DueRecipient], at_most: int) -> list[DueRecipient]:
    """The recipients who share the next SMTP transaction.

    Addresses that need SMTPUTF8 go apart from the others, which a server without SMTPUTF8 accepts.
    """
    plain = [recipient for recipient in recipients if recipient.address.rpartition("@")[0].isascii()]
    return (plain or recipients)[:at_most]


def _query_recipients(messages: list[int], now: datetime) -> Callable[[], dict[int, _Recipients]]:
    recipients = sql.query_lazy(statements.RECIPIENTS, sql.to_db_time(now), messages)
    return lambda: _by_message(recipients())


def _by_message(rows: Sequence[MessageRecipient]) -> dict[int, _Recipients]:
    by_message: dict[int, _Recipients] = defaultdict(_Recipients)
    for row in sorted(rows, key=attrgetter("pk")):
        recipients = by_message[row.message_id]
        recipients.total += 1
        recipients.only_allowed &= row.rule == Rule.ALLOWED
        if row.status in WAITING:
            recipients.waiting.append(DueRecipient(row.pk, row.address, row.name, row.tries, row.rule))
            if row.due:
                recipients.due.append(recipients.waiting[-1])
    return by_message


def _route_still_holds(mail: DueMessage, recipients: _Recipients, state: ListState, policy: PolicyState) -> bool:
    """Whether a second check can't change the route, which spares most messages its cost.

    The policy lets the message through. Besides, the list never was Active, or the message waits for exactly the people on it.
    """
    policy = policy.since(mail.policy_version)
    if not state.exists or not _lets_through(policy, mail, recipients.allowed):
        return False
    if not state.active_version and state.version >= mail.list_version:
        return bool(recipients.waiting)
    routed_by_it = mail.route == RouteKind.TEST_LIST and mail.list_version == state.version
    waiting = {same_address_key(recipient.address) for recipient in recipients.waiting if recipient.rule != Rule.ALLOWED}
    return state.active and routed_by_it and waiting == {same_address_key(person.email) for person in state.people}


def _lets_through(policy: PolicyState, mail: DueMessage, allowed: Sequence[str]) -> bool:
    """Whether the policy for the message lets all its waiting recipients get it."""
    if policy.policy == RecipientPolicy.NOBODY:
        return False
    is_open = policy.policy == RecipientPolicy.AS_APPS_ASK
    return (is_open or mail.route != RouteKind.RECIPIENTS) and all(map(policy.allows, allowed))


def _claimed_message(
    mail: DueMessage, owner: str, recipients: _Recipients, state: ListState, policy: PolicyState, *, tag_subject: bool
) -> ClaimedMessage:
    people = _test_people(mail, recipients.waiting, state)
    return ClaimedMessage(
        pk=mail.pk,
        owner=owner,
        app_key=mail.app_key,
        stage_key=mail.stage_key,
        subject_tag=mail.stage_name if tag_subject and people is not None else "",
        via=mail.via,
        envelope_sender=mail.envelope_sender,
        message_id=mail.message_id,
        created=parse_db_time(mail.created),
        size=mail.size,
        content=None if mail.content is None else bytes(mail.content),
        recipients=recipients.due,
        test_people=people,
        kept_headers=frozenset((mail.kept_headers or "").encode().split()),
        complete=len(recipients.due) == recipients.total,
        short_lines=bool(mail.short_lines),
        credential=mail.credential or "",
        policy=policy.since(mail.policy_version),
        only_allowed=mail.route == RouteKind.ALLOWED and recipients.only_allowed,
    )


def _test_people(mail: DueMessage, waiting: Sequence[DueRecipient], state: ListState) -> Sequence[NamedAddress] | None:
    """The people whom the header of test mail may name; None for real mail.

    Never all the message's recipients: a message that was caught half-way may have real ones that are done already.
    """
    if mail.route == RouteKind.ALLOWED:
        return ()
    if mail.route not in (RouteKind.TEST_LIST, RouteKind.FORWARDED):
        return None
    if state.active and mail.route == RouteKind.TEST_LIST:
        return state.people
    return [NamedAddress(recipient.address, recipient.name) for recipient in waiting if recipient.rule != Rule.ALLOWED]


def _mark_as_sending(claimed: Sequence[ClaimedMessage], claim: Claim, now: datetime) -> None:
    """Mark the messages as sending. From now on they count as on the wire."""
    if not claimed:
        return
    recipients = [recipient.pk for message in claimed for recipient in message.recipients]
    messages = [message.pk for message in claimed]
    sql.run_pair(statements.CLAIM, [recipients], [claim.owner, sql.to_db_time(now + claim.lease), messages])


def _route_once_more(mail: DueMessage, state: ListState, policy: PolicyState) -> DueMessage:
    """Check policy and list again. The message may get other recipients, be captured or be held, only toward safer."""
    message = Message.objects.get(pk=mail.pk)
    recipients = list(message.recipients.all())
    new_route = route_again(stored_route(message, recipients), message.requested, state, policy)
    if new_route is None:
        return mail
    if message.resent_from:
        new_route = _without_reached(new_route, message, recipients)
    _apply_route(message, recipients, new_route, state.version)
    if new_route.hold_reason:
        hold(message, new_route.hold_reason)
    return mail._replace(route=message.route)


def stored_route(message: Message, recipients: Sequence[Recipient]) -> StoredRoute:
    """What was decided about the message, and who of its recipients still waits for it."""
    waiting = [recipient for recipient in recipients if recipient.status in WAITING]
    allowed = tuple(recipient.address for recipient in waiting if recipient.rule == Rule.ALLOWED)
    kind, has_recipients = RouteKind(message.route), bool(waiting)
    return StoredRoute(kind, message.list_version, message.policy_version, has_recipients, allowed, message.is_own)


def _without_reached(new_route: Route, message: Message, recipients: Sequence[Recipient]) -> Route:
    """A resent message doesn't go to people who got it before, except to those for whom it was resent."""
    own = {same_address_key(recipient.address) for recipient in recipients}
    remaining = new_route.without(reached_by([message])[message.pk] - own)
    return new_route if remaining.reaches_nobody else remaining


def _apply_route(message: Message, recipients: Sequence[Recipient], new_route: Route, list_version: int) -> None:
    """Bring the waiting recipients in line with `new_route`. Recipients who got the message stay recorded as sent."""
    people = {same_address_key(item.person.email): item for item in new_route.recipients}
    leaving = [
        recipient for recipient in recipients if recipient.status in WAITING and same_address_key(recipient.address) not in people
    ]
    staying = {same_address_key(recipient.address) for recipient in recipients if recipient not in leaving}
    joining = [item for key, item in people.items() if key not in staying]
    if not leaving and not joining and message.route == new_route.kind and message.list_version == list_version:
        return
    captured = {same_address_key(address): address for address in new_route.captured}
    capture_recipients([recipient for recipient in leaving if same_address_key(recipient.address) in captured])
    Recipient.objects.filter(pk__in=[recipient.pk for recipient in leaving], status__in=WAITING).delete()
    _give_new_rules([recipient for recipient in recipients if recipient not in leaving], people)
    known = {same_address_key(recipient.address) for recipient in recipients}
    unnamed = [captured_recipient(message, address) for key, address in captured.items() if key not in known]
    Recipient.objects.bulk_create(
        [
            *(
                Recipient(message=message, address=item.person.email, name=item.person.name, rule=item.rule, due=message.due)
                for item in joining
            ),
            *unnamed,
        ]
    )
    note_captures(unnamed)
    if message.route != new_route.kind:
        message.route = new_route.kind
        message.notes = [*message.notes, _note_of(new_route)]
    message.list_version = list_version
    message.search_text = with_recipients(message.search_text, [person.email for person in new_route.people])
    sql.update(message, "route", "list_version", "notes", "search_text")


def _give_new_rules(recipients: Sequence[Recipient], people: Mapping[str, RoutedPerson]) -> None:
    """A recipient that the app gave may be on the list that catches the message now: then it is the list's copy."""
    for recipient in recipients:
        routed = people.get(same_address_key(recipient.address))
        if routed and routed.rule != recipient.rule and recipient.status in WAITING:
            Recipient.objects.filter(pk=recipient.pk, status__in=WAITING).update(rule=routed.rule)


def capture_recipients(recipients: Sequence[Recipient]) -> None:
    """Mark these recipients as captured. Other recipients of their messages stay as they are."""
    captured = Recipient.objects.filter(pk__in=[recipient.pk for recipient in recipients])
    captured.update(status=Status.CAPTURED, rule=Rule.CAPTURED, finished=database_now())
    note_captures(recipients)


def note_captures(recipients: Sequence[Recipient]) -> None:
    """Note captured copies for Analytics, which may have counted their messages before."""
    HandOverCapture.objects.bulk_create(
        HandOverCapture(message_id=recipient.message_id, address=recipient.address) for recipient in recipients
    )


def captured_recipient(message: Message, address: str) -> Recipient:
    """A captured recipient of a message that was on its way to a test list. An address that the app named had no row then."""
    return Recipient(message=message, address=address, rule=Rule.CAPTURED, status=Status.CAPTURED, finished=database_now())


def _note_of(again: Route) -> str:
    if again.hold_reason == HoldReason.TEST_LIST_MISSING:
        return _LIST_MISSING
    if again.hold_reason == HoldReason.LIST_EXPIRED:
        return _LIST_HAD_EXPIRED
    return CAUGHT if again.kind == RouteKind.TEST_LIST else NARROWED
