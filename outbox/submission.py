"""Accept messages. Every entry point ends in `submit()`.

When it returns, the message is committed, or part of the caller's transaction. It will end as sent, failed or held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from django.conf import settings
from django.core.mail import make_msgid
from django.core.mail.utils import DNS_NAME
from django.db import OperationalError, transaction

from common import sql
from common.clock import database_now
from common.inserts import insert_unless_changed
from emailconfig.models import normalized_domain
from organization.installation import installation_id
from organization.models import App, Credential, Stage
from organization.recipient_policy.policy import RecipientPolicy
from outbox import event_log, statements, storage, wakeup
from outbox.envelope import MAX_RECIPIENTS, Envelope, check_envelope, check_recipient, check_sender, sender_notes
from outbox.exceptions import SubmissionRefused
from outbox.headers.parser import (
    HeaderField,
    addresses_in,
    header_values,
    holds_invitation,
    readable,
    split_header,
    with_crlf,
)
from outbox.headers.received import loop_reason
from outbox.models import HoldReason, Message, RouteKind, Rule, Source, Status
from outbox.refusals import refusal_of_submission, try_to_record
from outbox.routing import Route, forward, release, route, route_own, route_resent
from outbox.routing_state import Place, RoutingState, forget, place_of, routing_state, snapshot_of
from outbox.search_text import search_text
from outbox.values import AcceptedMessage, Resend, Submission
from testlists.state import ListState

# Every entry point imports from here what it needs of the envelope.
__all__ = ["MAX_RECIPIENTS", "Envelope", "check_recipient", "check_sender"]

# How often messages are routed again because something changed right before they were stored.
_TRIES = 20


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
    return accept(Submission(app, stage, envelope, content, via, credential, resent)).message()


def accept(submission: Submission) -> AcceptedMessage:
    """As submit(), for callers that don't need the message's row."""
    (answer,) = submit_together([submission])
    if isinstance(answer, SubmissionRefused):
        _leave_trace(submission, answer)
        raise answer
    return answer


def _leave_trace(submission: Submission, refused: SubmissionRefused) -> None:
    """Log and record a refusal. The gateway, which submits several messages together, does that itself: it knows the command."""
    event_log.refused(submission, refused)
    try_to_record([refusal_of_submission(submission, refused.reply)])


def submit_together(submissions: Sequence[Submission]) -> list[AcceptedMessage | SubmissionRefused]:
    """Accept several messages in one transaction, which costs little more than one. Each is accepted or refused alone."""
    checked = [_checked(submission) for submission in submissions]
    with storage.watched():
        stored = iter(_store([result for result in checked if isinstance(result, _Checked)]))
    answers: list[AcceptedMessage | SubmissionRefused] = []
    accepted: list[tuple[Submission, AcceptedMessage]] = []
    for result in checked:
        answer = next(stored) if isinstance(result, _Checked) else result
        answers.append(answer)
        if isinstance(result, _Checked) and isinstance(answer, AcceptedMessage):
            accepted.append((result.submission, answer))
    if accepted:
        wakeup.notify_on_commit()
        transaction.on_commit(lambda: event_log.accepted(accepted), robust=True)
    return answers


class _Header(NamedTuple):
    """What the message's row keeps of its header; empty where the header doesn't say it."""

    from_address: str
    subject: str
    message_id: str


class _Checked(NamedTuple):
    """A submission that is acceptable as far as it can tell alone."""

    submission: Submission
    place: Place
    header: _Header


def _checked(submission: Submission) -> _Checked | SubmissionRefused:
    try:
        _check_app(submission)
        envelope = check_envelope(submission.envelope)
        content = with_crlf(submission.content)
        check_size(len(content))
        fields, _ = split_header(content)
        _check_loop(fields, submission.app, submission.stage)
    except SubmissionRefused as refused:
        return refused
    place = place_of(submission.app, submission.stage, submission.credential)
    return _Checked(replace(submission, envelope=envelope, content=content), place, _header(fields))


def _header(fields: Sequence[HeaderField]) -> _Header:
    senders = addresses_in(header_values(fields, b"from"))
    from_address = senders[0].email.replace("\x00", "")[:254] if senders else ""
    subject = readable(b" ".join(header_values(fields, b"subject")[:1]))[:500]
    message_ids = [value for value in header_values(fields, b"message-id") if value]  # an empty one doesn't leave
    return _Header(from_address, subject, readable(b" ".join(message_ids[:1]))[:998])


def _store(messages: Sequence[_Checked]) -> list[AcceptedMessage | SubmissionRefused]:
    """Route the messages by what is known of their places, and store them if that is still what is in force."""
    for _ in range(_TRIES):
        states = {place: _state_or_refusal(place) for place in {message.place for message in messages}}
        stored = _store_if_unchanged(messages, states)
        if stored is not None:
            return stored
        forget(states)
    raise OperationalError("What routes the messages changed whenever they were about to be stored.")


def _state_or_refusal(place: Place) -> RoutingState | SubmissionRefused:
    try:
        return routing_state(place)
    except SubmissionRefused as refused:
        return refused


def _store_if_unchanged(
    messages: Sequence[_Checked], states: dict[Place, RoutingState | SubmissionRefused]
) -> list[AcceptedMessage | SubmissionRefused] | None:
    """One answer for each message, or None where a state isn't in force any more; then nothing was stored."""
    in_force = {place: state for place, state in states.items() if isinstance(state, RoutingState)}
    accepted = [message for message in messages if message.place in in_force]
    rows, recipients, contents = [], [], []
    for number, (submission, place, header) in enumerate(accepted, start=1):
        decided = _route(submission, in_force[place])
        rows.append(_new_message(submission, header, decided, in_force[place]))
        recipients.extend(_new_recipients(number, submission, decided, rows[-1]["status"]))
        contents.append((number, submission.content))
    numbers = _insert(in_force, rows, contents, recipients) if rows else []
    if numbers is None:
        return None
    stored = map(AcceptedMessage, numbers, rows)
    return [state if isinstance(state := states[message.place], SubmissionRefused) else next(stored) for message in messages]


def _insert(
    in_force: dict[Place, RoutingState],
    rows: Sequence[dict[str, Any]],
    contents: Sequence[tuple[int, bytes]],
    recipients: Sequence[tuple[object, ...]],
) -> Sequence[int] | None:
    return insert_unless_changed(
        snapshot_of(in_force.items()),
        "outbox_message",
        len(rows),
        statements.new_messages([(number, *row.values()) for number, row in enumerate(rows, start=1)]),
        statements.new_contents(contents),
        statements.new_recipients(recipients),
    )


def _new_recipients(number: int, submission: Submission, decided: Route, status: str) -> list[tuple[object, ...]]:
    """The rows of those who get the message, of those whose copy is captured, and of those whom no email can reach.

    The email log shows the last as failed, with the reason.
    """
    rows: list[tuple[object, ...]] = [
        (number, recipient.person.email, recipient.person.name[:100], recipient.rule.value, status, 0, "", None)
        for recipient in decided.recipients
    ]
    if decided.captured or submission.envelope.refused:
        now = sql.to_db_time(database_now())
        captured, failed = Status.CAPTURED.value, Status.FAILED.value
        rows += [(number, address, "", Rule.CAPTURED.value, captured, 0, "", now) for address in decided.captured]
        rows += [(number, address, "", "", failed, 0, reason, now) for address, reason in submission.envelope.refused]
    return rows


def _route(submission: Submission, state: RoutingState) -> Route:
    recipients, resent = submission.envelope.recipients, submission.resent
    if submission.via == Source.OWN:
        return route_own(recipients, state.policy)
    if resent is None:
        return route(recipients, state.test_list, state.policy)
    if resent.forwarded_to:
        return forward(recipients, resent.forwarded_to)
    if resent.released and state.policy.policy != RecipientPolicy.NOBODY:
        return release(recipients)
    decided = route_resent(RouteKind(resent.original.route), recipients, state.test_list, state.policy)
    remaining = decided.without(resent.reached)
    return decided if remaining.reaches_nobody else remaining  # the list may have changed a moment ago


def _check_app(submission: Submission) -> None:
    """Refuse what isn't the portal's own for its app: test lists don't catch that app's email."""
    if submission.app.is_built_in != (submission.via == Source.OWN):
        raise SubmissionRefused(550, "5.7.1", f"The app {submission.app.key} is the portal's own.")


def check_size(size: int) -> None:
    if size > settings.MESSAGE_MAX_BYTES:
        raise SubmissionRefused(
            552, "5.3.4", f"The email has {size:,} bytes; at most {settings.MESSAGE_MAX_BYTES:,} are accepted."
        )


def _check_loop(fields: Sequence[HeaderField], app: App, stage: Stage) -> None:
    """Refuse a message that has been here before (see received)."""
    if reason := loop_reason(fields, app.key, stage.key, installation_id()):
        raise SubmissionRefused(554, "5.4.6", reason)


def _new_message(submission: Submission, header: _Header, decided: Route, state: RoutingState) -> dict[str, Any]:
    """The message's row, with its columns in the order of statements.new_messages()."""
    envelope, resent = submission.envelope, submission.resent
    from_address = header.from_address or envelope.sender
    message_id = header.message_id or new_message_id(state.sender or envelope.sender)
    hold_reason = _hold_reason(decided, state)
    routed = [person.email for person in decided.people]
    return {
        "app_id": state.app_id,
        "stage_id": state.stage_id,
        "credential_id": submission.credential.pk if submission.credential else None,
        "via": submission.via.value,
        "envelope_sender": envelope.sender,
        "requested": envelope.requested,
        "from_address": from_address,
        "subject": header.subject,
        "message_id": message_id,
        "size": len(submission.content),
        "invitation": holds_invitation(submission.content),
        "search_text": search_text(header.subject, from_address, [*envelope.requested, *routed], message_id),
        "route": decided.kind.value,
        "list_version": state.test_list.version,
        "policy_version": state.policy.version,
        "notes": [*(_resent_notes(resent, decided, state.test_list) if resent else []), *sender_notes(envelope.sender)],
        "resent_from": resent.original.pk if resent else None,
        "status": _first_status(decided, hold_reason).value,
        "hold_reason": hold_reason.value if hold_reason else "",
        "owner": "",
    }


def _hold_reason(decided: Route, state: RoutingState) -> HoldReason | None:
    """Why the new message is held; None when it isn't. A captured message needs no server, and no pause holds it."""
    if decided.hold_reason or decided.kind == RouteKind.CAPTURED:
        return decided.hold_reason
    if state.paused:
        return HoldReason.PAUSED
    return None if state.sender else HoldReason.STAGE_NOT_CONFIGURED


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
        notes.append(
            "The original email was test mail, so this one goes to the people on the test list, although the list is Inactive."
        )
    return notes
