"""`queued → sending`: the short transaction in which a connection's next mails are taken for the wire.

It takes the stage's oldest due mails, locks their test lists, looks at each route once more, and marks the mails. After
its commit a mail may reach exactly the addresses returned; before it, none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter

from common import sql
from common.addresses import NamedAddress, same_address_key
from common.clock import as_moment, database_now
from delivery import statements
from delivery.statements import DueMessage, MessageRecipient
from delivery.values import Addressee, Claim, HandOver
from organization.recipient_policy.policy import PolicyState, RecipientPolicy
from organization.recipient_policy.reading import query_policy
from outbox.models import WAITING, HoldReason, Message, Recipient, RouteKind, Rule, Status
from outbox.routing import Decided, Route, route_again
from outbox.search_text import with_recipients
from outbox.states import hold, sum_up
from testlists.services import ask_lists_for_hand_over
from testlists.state import NO_LIST, ListState, state_of

CAUGHT = "The test list became Active after the mail was accepted, so it goes to the people on the list instead."
NARROWED = "The stage's recipient policy became narrower after the email was accepted: only allowed addresses get it."
_LIST_MISSING = "The test list was missing when the mail was about to be sent, so it counts as test mail and is held."
# Mail may turn out to be held when it is looked at: how often the next is taken instead, in one turn.
_LOOKS = 50
ANY_NUMBER = 1_000_000


@dataclass
class _Recipients:
    """A mail's recipients: how many in all, those that wait, and of these the ones whose turn it is."""

    total: int = 0
    only_allowed: bool = True
    waiting: list[Addressee] = field(default_factory=list)
    due: list[Addressee] = field(default_factory=list)

    @property
    def allowed(self) -> list[str]:
        """Those that wait and get it as the stage's allowed addresses."""
        return [recipient.address for recipient in self.waiting if recipient.rule == Rule.ALLOWED]


@dataclass(frozen=True)
class DueMail:
    """A stage's mail that is due: up to `wanted`, asked for in the caller's transaction. What of it is read stays this
    transaction's."""

    stage_id: int
    wanted: int
    read: Callable[[], list[DueMessage]]


def ask_due_mail(stage_id: int, wanted: int) -> DueMail:
    """The oldest of what was never tried and of what is tried again: each in the order of the index, however many wait."""
    answer = sql.ask(statements.due_messages(_at_least(wanted)), *[stage_id] * len(WAITING))
    return DueMail(stage_id, wanted, lambda: sorted(answer(), key=lambda mail: (mail.due, mail.pk))[:wanted])


def _at_least(wanted: int) -> int:
    """1, 2, 3, 4, 6, 8, 12, … With a few numbers PostgreSQL keeps a few plans (see due_messages); for that a few messages more
    are read than are taken."""
    power = 1 << (wanted - 1).bit_length()
    less = power * 3 // 4
    return less if less >= wanted else power


def hand_over(
    due: DueMail, claim: Claim, now: datetime, most_recipients: int = ANY_NUMBER, at_most: int | None = None
) -> list[HandOver]:
    """Take what is due, oldest first, in the same transaction: all that was wanted, or `at_most` so many. `now` was asked
    for after what is due. A mail to more than `most_recipients` is taken for the first of them; the others stay due."""
    for _ in range(_LOOKS):
        if not (mails := due.read()[:at_most]):
            break
        if taken := _take(mails, due.stage_id, claim, now, most_recipients):
            return taken
        due, now = ask_due_mail(due.stage_id, due.wanted), database_now()
    return []


def _take(mails: Sequence[DueMessage], stage_id: int, claim: Claim, now: datetime, most_recipients: int) -> list[HandOver]:
    """The locks of all these test lists are held; what is read from here on stays so until the transaction ends."""
    ask_lists = ask_lists_for_hand_over({mail.app_id for mail in mails}, stage_id)
    ask_policy = query_policy(stage_id)
    ask_recipients = _ask_recipients([mail.pk for mail in mails], now)
    test_lists, policy, found = ask_lists(), ask_policy(), ask_recipients()
    states = {app_id: state_of(test_list) for app_id, test_list in test_lists.items()}
    taken = []
    for due in mails:
        mail, state, recipients = due, states.get(due.app_id, NO_LIST), found[due.pk]
        if not _still_right(due, recipients, state, policy):
            mail = _route_once_more(due, state, policy)
            recipients = _ask_recipients([due.pk], now)()[due.pk]
        if recipients.due:
            recipients.due = one_transaction(recipients.due, most_recipients)
            tag_subject = state.exists and test_lists[due.app_id].tag_subject
            taken.append(_taken(mail, claim.owner, recipients, state, policy, tag_subject=tag_subject))
        else:
            sum_up(Message.objects.get(pk=due.pk))  # held or captured now, or not due after all
    _mark(taken, claim, now)
    return taken


def one_transaction(recipients: list[Addressee], at_most: int) -> list[Addressee]:
    """Those recipients who share an SMTP transaction. Addresses that need SMTPUTF8 go apart from the others, which a server
    without it takes."""
    plain = [one for one in recipients if one.address.rpartition("@")[0].isascii()]
    return (plain or recipients)[:at_most]


def _ask_recipients(messages: list[int], now: datetime) -> Callable[[], dict[int, _Recipients]]:
    recipients = sql.ask(statements.RECIPIENTS, sql.stored(now), messages)
    return lambda: _by_message(recipients())


def _by_message(rows: Sequence[MessageRecipient]) -> dict[int, _Recipients]:
    found: dict[int, _Recipients] = defaultdict(_Recipients)
    for row in sorted(rows, key=attrgetter("pk")):
        recipients = found[row.message_id]
        recipients.total += 1
        recipients.only_allowed &= row.rule == Rule.ALLOWED
        if row.status in WAITING:
            recipients.waiting.append(Addressee(row.pk, row.address, row.name, row.tries, row.rule))
            if row.due:
                recipients.due.append(recipients.waiting[-1])
    return found


def _still_right(mail: DueMessage, recipients: _Recipients, state: ListState, policy: PolicyState) -> bool:
    """Whether a second look can't change anything, which spares most mail its cost.

    The policy lets it through, and the list never was Active, or the mail waits for just the people whom it names now.
    """
    policy = policy.since(mail.policy_version)
    if not state.exists or not _lets_through(policy, mail, recipients.allowed):
        return False
    if not state.active_version and state.version >= mail.list_version:
        return bool(recipients.waiting)
    routed_by_it = mail.route == RouteKind.TEST_LIST and mail.list_version == state.version
    waiting = {same_address_key(one.address) for one in recipients.waiting if one.rule != Rule.ALLOWED}
    return state.active and routed_by_it and waiting == {same_address_key(person.email) for person in state.people}


def _lets_through(policy: PolicyState, mail: DueMessage, allowed: Sequence[str]) -> bool:
    """Whether the policy that holds for the mail keeps back none of those who wait for it."""
    if policy.policy == RecipientPolicy.NOBODY:
        return False
    is_open = policy.policy == RecipientPolicy.AS_APPS_ASK
    return (is_open or mail.route != RouteKind.RECIPIENTS) and all(map(policy.allows, allowed))


def _taken(
    mail: DueMessage, owner: str, recipients: _Recipients, state: ListState, policy: PolicyState, *, tag_subject: bool
) -> HandOver:
    people = _test_people(mail, recipients.waiting, state)
    return HandOver(
        pk=mail.pk,
        owner=owner,
        app_key=mail.app_key,
        stage_key=mail.stage_key,
        subject_tag=mail.stage_name if tag_subject and people is not None else "",
        via=mail.via,
        envelope_sender=mail.envelope_sender,
        message_id=mail.message_id,
        created=as_moment(mail.created),
        size=mail.size,
        content=None if mail.content is None else bytes(mail.content),
        recipients=recipients.due,
        test_people=people,
        kept_headers=frozenset((mail.kept_headers or "").encode().split()),
        complete=len(recipients.due) == recipients.total,
        short_lines=bool(mail.short_lines),
        credential=mail.credential or "",
        allowed=policy.since(mail.policy_version).allowed,
        only_allowed=mail.route == RouteKind.ALLOWED and recipients.only_allowed,
    )


def _test_people(mail: DueMessage, waiting: Sequence[Addressee], state: ListState) -> Sequence[NamedAddress] | None:
    """Never all the mail's recipients: one that was caught half-way may have real ones that are done already."""
    if mail.route == RouteKind.ALLOWED:
        return ()
    if mail.route != RouteKind.TEST_LIST:
        return None
    if state.active:
        return state.people
    return [NamedAddress(one.address, one.name) for one in waiting if one.rule != Rule.ALLOWED]


def _mark(taken: Sequence[HandOver], claim: Claim, now: datetime) -> None:
    """From here on they count as on the wire."""
    if not taken:
        return
    recipients = [one.pk for mail in taken for one in mail.recipients]
    mails = [mail.pk for mail in taken]
    sql.run_together(statements.CLAIM, [recipients], [claim.owner, sql.stored(now + claim.lease), mails])


def _route_once_more(mail: DueMessage, state: ListState, policy: PolicyState) -> DueMessage:
    """A second look at policy and list, which changes whom the mail reaches, captures or holds it, only toward safer."""
    message = Message.objects.get(pk=mail.pk)
    recipients = list(message.recipients.all())
    waiting = [recipient for recipient in recipients if recipient.status in WAITING]
    allowed = tuple(recipient.address for recipient in waiting if recipient.rule == Rule.ALLOWED)
    decided = Decided(RouteKind(message.route), message.list_version, message.policy_version, bool(waiting), allowed)
    again = route_again(decided, message.requested, state, policy)
    if again is None:
        return mail
    _follow(message, recipients, again, state.version)
    if again.hold_reason:
        hold(message, again.hold_reason)
    return mail._replace(route=message.route)


def _follow(message: Message, recipients: Sequence[Recipient], again: Route, list_version: int) -> None:
    """Bring the waiting recipients in line with `again`. Who was sent to stays on record as sent."""
    wanted = {same_address_key(item.person.email): item for item in again.recipients}
    leaving = [one for one in recipients if one.status in WAITING and same_address_key(one.address) not in wanted]
    staying = {same_address_key(one.address) for one in recipients if one not in leaving}
    joining = [item for key, item in wanted.items() if key not in staying]
    if not leaving and not joining and message.route == again.kind and message.list_version == list_version:
        return
    captured = {same_address_key(address): address for address in again.captured}
    _capture([one.pk for one in leaving if same_address_key(one.address) in captured])
    Recipient.objects.filter(pk__in=[one.pk for one in leaving], status__in=WAITING).delete()
    known = {same_address_key(one.address) for one in recipients}
    Recipient.objects.bulk_create(
        [
            *(
                Recipient(message=message, address=item.person.email, name=item.person.name, rule=item.rule, due=message.due)
                for item in joining
            ),
            *(_captured(message, address) for key, address in captured.items() if key not in known),
        ]
    )
    if message.route != again.kind:
        message.route = again.kind
        message.notes = [*message.notes, _note_of(again)]
    message.list_version = list_version
    message.search_text = with_recipients(message.search_text, [person.email for person in again.people])
    sql.update(message, "route", "list_version", "notes", "search_text")


def _capture(recipients: list[int]) -> None:
    """Their copies end here; nobody else of the mail does by that."""
    captured = Recipient.objects.filter(pk__in=recipients)
    captured.update(status=Status.CAPTURED, rule=Rule.CAPTURED, finished=database_now())


def _captured(message: Message, address: str) -> Recipient:
    """Of an email that was on its way to a test list: whom the app named had no row."""
    return Recipient(message=message, address=address, rule=Rule.CAPTURED, status=Status.CAPTURED, finished=database_now())


def _note_of(again: Route) -> str:
    if again.hold_reason == HoldReason.TEST_LIST_MISSING:
        return _LIST_MISSING
    return CAUGHT if again.kind == RouteKind.TEST_LIST else NARROWED
