"""`queued → sending`: the statements that claim a connection's next messages, and what is made of them.

They mark the stage's oldest due messages, whose test lists they lock, and read then what is in force. So what they read stays
true until the transaction ends. Nothing has to be waited for until its commit, which is sent with them. After it, a message whose
route still holds may reach exactly its recipients. The others, which are few, are looked at again (see second_check). No
message is sent before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from common import sql
from common.addresses import NamedAddress, same_address_key
from common.clock import parse_db_time
from delivery import statements
from delivery.claims.in_force import Brakes, StageInForce
from delivery.statements import ClaimedList, DueMessage, MessageRecipient
from delivery.values import Claim, ClaimedMessage, DueRecipient
from organization.installation.seal import current_seal
from organization.recipient_policy.policy import PolicyState, RecipientPolicy
from outbox.models import WAITING, HoldReason, RouteKind, Rule, Status
from testlists.state import NO_LIST, ListState

ANY_NUMBER = 1_000_000


@dataclass
class Recipients:
    """A message's recipients: how many in all, those that wait, and those that are due. Of these some may not be marked."""

    total: int = 0
    unmarked: int = 0
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


class Particulars(NamedTuple):
    """The recipients of claimed messages, by message, and the test lists of their apps, by app."""

    recipients: Mapping[int, Recipients]
    lists: Mapping[int, ClaimedList]

    def list_of(self, message: DueMessage) -> ListState:
        test_list = self.lists.get(message.app_id)
        return test_list.state if test_list else NO_LIST


class Claimed(NamedTuple):
    """What a batch has claimed of a stage, oldest first."""

    messages: Sequence[DueMessage]
    particulars: Particulars


class Checked(NamedTuple):
    """What of it may leave at once, and what must be looked at again."""

    leaving: list[ClaimedMessage]
    unusual: list[DueMessage]


NOTHING = Claimed([], Particulars({}, {}))


def query_claim(stage_id: int, at_most: int, claim: Claim, settings_version: int) -> Callable[[], Claimed]:
    """Claim up to `at_most` of the stage's messages, if its settings still have this version.

    What was claimed may be read after the commit. What is in force must be queried after it, in the same transaction.
    """
    oldest = (*[stage_id] * len(WAITING), at_most)
    messages = sql.query_lazy(
        statements.claim_messages(statements.at_least(at_most)),
        *(claim.owner, claim.lease.total_seconds(), *oldest, stage_id, settings_version, current_seal()),
    )
    sql.run(statements.CLAIM_RECIPIENTS, claim.owner)
    particulars = query_particulars(stage_id, claim)
    return lambda: Claimed(sorted(messages(), key=lambda mail: (mail.due, mail.pk)), particulars())


def query_particulars(stage_id: int, claim: Claim) -> Callable[[], Particulars]:
    """Of the messages that are claimed under this name, whose lists are locked."""
    recipients = query_recipients(claim)
    lists = sql.query_lazy(statements.LISTS, stage_id, claim.owner)
    return lambda: Particulars(recipients(), {test_list.app_id: test_list for test_list in lists()})


def query_recipients(claim: Claim) -> Callable[[], Mapping[int, Recipients]]:
    """By message, the recipients of those that are claimed under this name."""
    rows = sql.query_lazy(statements.RECIPIENTS, claim.owner)
    return lambda: _by_message(rows())


def _by_message(rows: Sequence[MessageRecipient]) -> dict[int, Recipients]:
    by_message: dict[int, Recipients] = defaultdict(Recipients)
    for row in sorted(rows, key=attrgetter("pk")):
        recipients = by_message[row.message_id]
        recipients.total += 1
        recipients.only_allowed &= row.rule == Rule.ALLOWED
        if row.status in (*WAITING, Status.SENDING):
            recipients.waiting.append(DueRecipient(row.pk, row.address, row.name, row.tries, row.rule))
            if row.due:
                recipients.due.append(recipients.waiting[-1])
                recipients.unmarked += row.status != Status.SENDING
    return by_message


def check(claimed: Claimed, claim: Claim, in_force: StageInForce, most_recipients: int) -> Checked:
    """Which of the messages may leave as they are, to at most `most_recipients` each."""
    checked = Checked([], [])
    for message in claimed.messages:
        recipients, state = claimed.particulars.recipients[message.pk], claimed.particulars.list_of(message)
        if (
            recipients.unmarked
            or reason_to_hold(in_force.brakes, message, recipients)
            or not route_still_holds(message, recipients, state, in_force.policy)
            or recipients.due != one_transaction(recipients.due, most_recipients)
        ):
            checked.unusual.append(message)
        else:
            checked.leaving.append(claimed_message(message, claim, claimed.particulars, in_force))
    return checked


def reason_to_hold(brakes: Brakes, message: DueMessage, recipients: Recipients) -> HoldReason | None:
    """Test mail never waits too long: it goes to nobody but the people on the list."""
    if brakes.paused & {None, message.app_id}:
        return HoldReason.PAUSED
    if brakes.too_late_before is None or message.route == RouteKind.TEST_LIST or not recipients.never_tried:
        return None
    return HoldReason.WAITED_TOO_LONG if parse_db_time(message.due) < brakes.too_late_before else None


def one_transaction(recipients: list[DueRecipient], at_most: int) -> list[DueRecipient]:
    """The recipients who share the next SMTP transaction.

    Addresses that need SMTPUTF8 go apart from the others, which a server without SMTPUTF8 accepts.
    """
    plain = [recipient for recipient in recipients if recipient.address.rpartition("@")[0].isascii()]
    return (plain or recipients)[:at_most]


def route_still_holds(mail: DueMessage, recipients: Recipients, state: ListState, policy: PolicyState) -> bool:
    """Whether a second check can't change the route, which spares most messages its cost.

    The policy lets the message through. Besides, the list wasn't Active since, or the message waits for exactly the people on it.
    """
    policy = policy.since(mail.policy_version)
    if not state.exists or not recipients.due or not _lets_through(policy, mail, recipients.allowed):
        return False
    if not (state.active or state.expired or state.was_active_since(mail.list_version)):
        return True
    routed_by_it = mail.route == RouteKind.TEST_LIST and mail.list_version == state.version
    waiting = {same_address_key(recipient.address) for recipient in recipients.waiting if recipient.rule != Rule.ALLOWED}
    return state.active and routed_by_it and waiting == {same_address_key(person.email) for person in state.people}


def _lets_through(policy: PolicyState, mail: DueMessage, allowed: Sequence[str]) -> bool:
    """Whether the policy for the message lets all its waiting recipients get it."""
    if policy.policy == RecipientPolicy.NOBODY:
        return False
    is_open = policy.policy == RecipientPolicy.AS_APPS_ASK
    return (is_open or mail.route != RouteKind.RECIPIENTS) and all(map(policy.allows, allowed))


def claimed_message(mail: DueMessage, claim: Claim, particulars: Particulars, in_force: StageInForce) -> ClaimedMessage:
    """What may be sent now to its due recipients."""
    recipients, state = particulars.recipients[mail.pk], particulars.list_of(mail)
    people = _test_people(mail, recipients.waiting, state)
    tag_subject = state.exists and particulars.lists[mail.app_id].tag_subject
    return ClaimedMessage(
        pk=mail.pk,
        owner=claim.owner,
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
        policy=in_force.policy.since(mail.policy_version),
        only_allowed=mail.route == RouteKind.ALLOWED and recipients.only_allowed,
        claimed=in_force.now,
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
