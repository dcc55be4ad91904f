"""Accept messages. Every entry point ends in `submit()`.

When it returns, the message is committed, or part of the caller's transaction. It will end as sent, failed or held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from django.conf import settings
from django.core.mail import make_msgid
from django.core.mail.utils import DNS_NAME
from django.db import transaction

from common import sql
from common.clock import database_now
from emailconfig.models import normalized_domain
from organization.installation import installation_id
from organization.models import App, Credential, Stage
from organization.recipient_policy.policy import PolicyState, RecipientPolicy
from outbox import event_log, statements, storage, wakeup
from outbox.envelope import MAX_RECIPIENTS, Envelope, check_envelope, check_recipient, check_sender, sender_notes
from outbox.exceptions import SubmissionRefused
from outbox.headers.parser import addresses_in, header_values, holds_invitation, readable, split_header, with_crlf
from outbox.headers.received import loop_reason
from outbox.models import HoldReason, Message, RouteKind, Rule, Source, Status
from outbox.refusals import refusal_of_submission, try_to_record
from outbox.routing import Route, forward, release, route, route_resent
from outbox.search_text import search_text
from outbox.values import AcceptedMessage, Resend, Submission
from testlists.models import TestList
from testlists.state import NO_LIST, ListState, list_state

# Every entry point imports from here what it needs of the envelope.
__all__ = ["MAX_RECIPIENTS", "Envelope", "check_recipient", "check_sender"]


def submit(
    app: App,
    stage: Stage,
    envelope: Envelope,
    content: bytes,
    *,
    via: Source,
    credential: Credential | None = None,
    resent: Resend | None = None,
) -> Message:
    """Accept one message: check, route, store.

    Raises SubmissionRefused when the message itself can't be accepted. Database errors pass through. In both cases nothing was
    stored.
    """
    submission = Submission(app, stage, envelope, content, via, credential, resent)
    (answer,) = submit_together([submission])
    if isinstance(answer, SubmissionRefused):
        _leave_trace(submission, answer)
        raise answer
    return answer.message()


def _leave_trace(submission: Submission, refused: SubmissionRefused) -> None:
    """Log and record a refusal. The gateway, which submits several messages together, does that itself: it knows the command."""
    event_log.refused(submission, refused)
    try_to_record([refusal_of_submission(submission, refused.reply)])


def submit_together(submissions: Sequence[Submission]) -> list[AcceptedMessage | SubmissionRefused]:
    """Accept several messages in one transaction, which costs little more than one. Each is accepted or refused alone."""
    checked = [_checked(submission) for submission in submissions]
    with storage.watched(), sql.atomic_unless_single_statement():
        storable = [result for result in checked if isinstance(result, Submission)]
        stored = _store(storable)
        wakeup.notify_on_commit()
        transaction.on_commit(lambda: event_log.accepted(zip(storable, stored, strict=True)), robust=True)
    accepted = iter(stored)
    return [next(accepted) if isinstance(result, Submission) else result for result in checked]


def _checked(submission: Submission) -> Submission | SubmissionRefused:
    try:
        envelope = check_envelope(submission.envelope)
        _check_place(submission.app, submission.stage)
        content = with_crlf(submission.content)
        check_size(len(content))
        _check_loop(content, submission.app, submission.stage)
    except SubmissionRefused as refused:
        return refused
    return replace(submission, envelope=envelope, content=content)


def _store(submissions: Sequence[Submission]) -> list[AcceptedMessage]:
    if not submissions:
        return []
    queries = {place: _query_place(*place) for place in {_place(submission) for submission in submissions}}
    new_numbers = sql.query_new_numbers("outbox_message", len(submissions))
    places = {place: answer() for place, answer in queries.items()}
    numbers = new_numbers()
    messages, recipients = [], []
    for pk, submission in zip(numbers, submissions, strict=True):
        place = places[_place(submission)]
        decided = _route(submission, place)
        messages.append(_new_message(submission, decided, place))
        recipients.extend(_new_recipients(pk, submission, decided, messages[-1]["status"]))
    contents = [(pk, submission.content) for pk, submission in zip(numbers, submissions, strict=True)]
    sql.insert(
        statements.new_messages(_numbered(numbers, messages)),
        statements.new_contents(contents),
        statements.new_recipients(recipients),
    )
    return [AcceptedMessage(pk, row) for pk, row in zip(numbers, messages, strict=True)]


def _place(submission: Submission) -> tuple[int, int]:
    return submission.app.pk, submission.stage.pk


def _numbered(numbers: Sequence[int], rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(pk, *row.values()) for pk, row in zip(numbers, rows, strict=True)]


class _RoutingPlace(NamedTuple):
    """What decides about the emails of one app in one stage. `sender`: the stage's, empty where it isn't configured."""

    test_list: ListState
    policy: PolicyState
    sender: str
    paused: bool


def _query_place(app_id: int, stage_id: int) -> Callable[[], _RoutingPlace]:
    rows = sql.query_lazy(statements.LIST_POLICY_AND_SENDER, app_id, app_id, stage_id)

    def read() -> _RoutingPlace:
        (row,) = rows()
        return _RoutingPlace(_list_state(row), row.policy, row.stage_sender or "", bool(row.paused))

    return read


def _list_state(row: statements.ListPolicyAndSender) -> ListState:
    if row.list_id is None:
        return NO_LIST
    test_list = sql.partly_read(
        TestList, id=row.list_id, active=bool(row.active), version=row.version, active_version=row.active_version
    )
    return list_state(test_list, is_over=bool(row.active and row.is_over))


def _new_recipients(pk: int, submission: Submission, decided: Route, status: str) -> list[tuple[object, ...]]:
    """The rows of those who get the message, of those whose copy is captured, and of those whom no email can reach.

    The email log shows the last as failed, with the reason.
    """
    rows: list[tuple[object, ...]] = [
        (pk, recipient.person.email, recipient.person.name[:100], recipient.rule.value, status, 0, "", None)
        for recipient in decided.recipients
    ]
    if decided.captured or submission.envelope.refused:
        now = sql.to_db_time(database_now())
        captured, failed = Status.CAPTURED.value, Status.FAILED.value
        rows += [(pk, address, "", Rule.CAPTURED.value, captured, 0, "", now) for address in decided.captured]
        rows += [(pk, address, "", "", failed, 0, reason, now) for address, reason in submission.envelope.refused]
    return rows


def _route(submission: Submission, place: _RoutingPlace) -> Route:
    recipients, resent = submission.envelope.recipients, submission.resent
    if resent is None:
        return route(recipients, place.test_list, place.policy)
    if resent.forwarded_to:
        return forward(recipients, resent.forwarded_to)
    if resent.released and place.policy.policy != RecipientPolicy.NOBODY:
        return release(recipients)
    decided = route_resent(RouteKind(resent.original.route), recipients, place.test_list, place.policy)
    remaining = decided.without(resent.reached)
    return decided if remaining.reaches_nobody else remaining  # the list may have changed a moment ago


def check_size(size: int) -> None:
    if size > settings.MESSAGE_MAX_BYTES:
        raise SubmissionRefused(
            552, "5.3.4", f"The email has {size:,} bytes; at most {settings.MESSAGE_MAX_BYTES:,} are accepted."
        )


def _check_loop(content: bytes, app: App, stage: Stage) -> None:
    """Refuse a message that has been here before (see received)."""
    fields, _ = split_header(content)
    if reason := loop_reason(fields, app.key, stage.key, installation_id()):
        raise SubmissionRefused(554, "5.4.6", reason)


def _check_place(app: App, stage: Stage) -> None:
    for place in (app, stage):
        if place.archived:
            raise SubmissionRefused(550, "5.7.1", f"{place} is archived and sends no mail.")


def _new_message(submission: Submission, decided: Route, place: _RoutingPlace) -> dict[str, Any]:
    """The message's row, with its columns in the order of statements.new_messages()."""
    fields, _ = split_header(submission.content)
    envelope = submission.envelope
    senders = addresses_in(header_values(fields, b"from"))
    from_address = senders[0].email.replace("\x00", "")[:254] if senders else envelope.sender
    subject = readable(b" ".join(header_values(fields, b"subject")[:1]))[:500]
    message_ids = [value for value in header_values(fields, b"message-id") if value]  # an empty one doesn't leave
    message_id = readable(b" ".join(message_ids[:1]))[:998] or new_message_id(place.sender or envelope.sender)
    hold_reason = _hold_reason(decided, place)
    routed = [person.email for person in decided.people]
    resent = submission.resent
    return {
        "app_id": submission.app.pk,
        "stage_id": submission.stage.pk,
        "credential_id": submission.credential.pk if submission.credential else None,
        "via": submission.via.value,
        "envelope_sender": envelope.sender,
        "requested": envelope.requested,
        "from_address": from_address,
        "subject": subject,
        "message_id": message_id,
        "size": len(submission.content),
        "invitation": holds_invitation(submission.content),
        "search_text": search_text(subject, from_address, [*envelope.requested, *routed], message_id),
        "route": decided.kind.value,
        "list_version": place.test_list.version,
        "policy_version": place.policy.version,
        "notes": [*(_resent_notes(resent, decided, place.test_list) if resent else []), *sender_notes(envelope.sender)],
        "resent_from": resent.original.pk if resent else None,
        "status": _first_status(decided, hold_reason).value,
        "hold_reason": hold_reason.value if hold_reason else "",
        "owner": "",
    }


def _hold_reason(decided: Route, place: _RoutingPlace) -> HoldReason | None:
    """Why the new message is held; None when it isn't. A captured message needs no server, and no pause holds it."""
    if decided.hold_reason or decided.kind == RouteKind.CAPTURED:
        return decided.hold_reason
    if place.paused:
        return HoldReason.PAUSED
    return None if place.sender else HoldReason.STAGE_NOT_CONFIGURED


def _first_status(decided: Route, hold_reason: HoldReason | None) -> Status:
    if decided.kind == RouteKind.CAPTURED:
        return Status.CAPTURED
    return Status.HELD if hold_reason else Status.QUEUED


def new_message_id(sender: str) -> str:
    """A new Message-ID that ends in the sender's domain. The name of this machine may be no domain at all."""
    return make_msgid(domain=normalized_domain(sender) or str(DNS_NAME))


def _resent_notes(resent: Resend, decided: Route, test_list: ListState) -> list[str]:
    if resent.forwarded_to:
        return [f"Forwarded from #{resent.original.pk} by {resent.by}, as test mail."]
    notes = [f"Resent from #{resent.original.pk} by {resent.by}."]
    if decided.kind == RouteKind.RELEASED:
        notes.append(f"Released to the real recipients by {resent.by}: the test list doesn't catch this email.")
    elif decided.kind == RouteKind.TEST_LIST and not test_list.active:
        notes.append("The email it repeats was test mail, so it goes to the people on the test list, although that is Inactive.")
    return notes
