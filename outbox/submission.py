"""Accepting mail. Every door ends in `submit()`; when it returns, the mail is committed (or part of the caller's
transaction) and will end as sent, failed or held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core.mail import make_msgid
from django.core.mail.utils import DNS_NAME
from django.db import transaction

from common import sql
from common.clock import database_now
from emailconfig.models import normalized_domain
from organization.installation import installation_id
from organization.models import App, Credential, Stage
from outbox import event_log, statements, storage, wakeup
from outbox.envelope import MAX_RECIPIENTS, Envelope, check_envelope, check_recipient, check_sender, sender_notes
from outbox.exceptions import SubmissionRefused
from outbox.headers.parser import addresses_in, header_values, holds_invitation, readable, split_header, with_crlf
from outbox.headers.received import loop_reason
from outbox.models import Door, HoldReason, Message, RouteKind, Status
from outbox.refusals import refusal_of_submission, try_to_record
from outbox.routing import Route, release, route, route_resent
from outbox.search_text import search_text
from outbox.values import Accepted, Resent, Submission
from testlists.models import TestList
from testlists.state import NO_LIST, ListState, state_of

# Every entry point finds here what it needs of the envelope.
__all__ = ["MAX_RECIPIENTS", "Envelope", "check_recipient", "check_sender"]


def submit(
    app: App,
    stage: Stage,
    envelope: Envelope,
    content: bytes,
    *,
    via: Door,
    credential: Credential | None = None,
    resent: Resent | None = None,
) -> Message:
    """Accept one mail: check, route, store.

    Raises SubmissionRefused when the mail itself can't be accepted; database errors pass through and mean the same:
    nothing was stored.
    """
    submission = Submission(app, stage, envelope, content, via, credential, resent)
    (answer,) = submit_together([submission])
    if isinstance(answer, SubmissionRefused):
        _leave_trace(submission, answer)
        raise answer
    return answer.message()


def _leave_trace(submission: Submission, refused: SubmissionRefused) -> None:
    """The gateway, which submits several together, leaves its own: it knows at which command."""
    event_log.refused(submission, refused)
    try_to_record([refusal_of_submission(submission, refused.reply)])


def submit_together(submissions: Sequence[Submission]) -> list[Accepted | SubmissionRefused]:
    """Accept several mails in one transaction, which costs little more than one. Each is refused for itself alone."""
    checked = [_checked(submission) for submission in submissions]
    with storage.watched(), sql.reading_and_inserting():
        storable = [one for one in checked if isinstance(one, Submission)]
        stored = _store(storable)
        wakeup.after_commit()
        transaction.on_commit(lambda: event_log.accepted(zip(storable, stored, strict=True)), robust=True)
    accepted = iter(stored)
    return [next(accepted) if isinstance(one, Submission) else one for one in checked]


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


def _store(submissions: Sequence[Submission]) -> list[Accepted]:
    if not submissions:
        return []
    asked = {key: sql.ask(statements.LIST_AND_SENDER, *key) for key in {(one.app.pk, one.stage.pk) for one in submissions}}
    new_numbers = sql.ask_new_numbers("outbox_message", len(submissions))
    found = {key: _list_and_sender(answer()) for key, answer in asked.items()}
    numbers = new_numbers()
    rows, people = [], []
    for one in submissions:
        test_list, stage_sender = found[one.app.pk, one.stage.pk]
        decided = _route(one, test_list)
        rows.append(_new_message(one, decided, test_list, stage_sender))
        people.append(decided.people)
    numbered = list(zip(numbers, submissions, rows, people, strict=True))
    recipients = [
        (pk, person.email, person.name[:100], row["status"], 0, "", None) for pk, _, row, routed in numbered for person in routed
    ]
    refused = _refused_recipients(zip(numbers, submissions, strict=True))
    sql.insert(
        statements.new_messages([(pk, *row.values()) for pk, _, row, _ in numbered]),
        statements.new_contents([(pk, one.content) for pk, one, _, _ in numbered]),
        statements.new_recipients([*recipients, *refused]),
    )
    return [Accepted(pk, row) for pk, row in zip(numbers, rows, strict=True)]


def _refused_recipients(numbered: Iterable[tuple[int, Submission]]) -> list[tuple[object, ...]]:
    """The rows of recipients that no email can reach: the email log shows them as failed, and why."""
    refused = [(pk, *recipient) for pk, one in numbered for recipient in one.envelope.refused]
    if not refused:
        return []
    now = sql.stored(database_now())
    return [(pk, address, "", Status.FAILED.value, 0, reason, now) for pk, address, reason in refused]


def _route(submission: Submission, test_list: ListState) -> Route:
    recipients, resent = submission.envelope.recipients, submission.resent
    if resent is None:
        return route(recipients, test_list)
    if resent.released:
        return release(recipients)
    return route_resent(RouteKind(resent.original.route), recipients, test_list)


def _list_and_sender(rows: list[statements.ListAndSender]) -> tuple[ListState, str]:
    """The list that decides, and the stage's sender: empty where it isn't configured, or has no list."""
    if not rows:
        return NO_LIST, ""
    (row,) = rows
    test_list = sql.partly_read(
        TestList, id=row.id, active=bool(row.active), version=row.version, active_version=row.active_version
    )
    return state_of(test_list), row.stage_sender or ""


def check_size(size: int) -> None:
    if size > settings.MESSAGE_MAX_BYTES:
        raise SubmissionRefused(
            552, "5.3.4", f"The mail has {size:,} bytes; at most {settings.MESSAGE_MAX_BYTES:,} are accepted."
        )


def _check_loop(content: bytes, app: App, stage: Stage) -> None:
    """Refuse a message that has been here before, as often as the app asks (see received)."""
    fields, _ = split_header(content)
    if reason := loop_reason(fields, app.key, stage.key, installation_id()):
        raise SubmissionRefused(554, "5.4.6", reason)


def _check_place(app: App, stage: Stage) -> None:
    for place in (app, stage):
        if place.archived:
            raise SubmissionRefused(550, "5.7.1", f"{place} is archived and sends no mail.")


def _new_message(submission: Submission, decided: Route, test_list: ListState, stage_sender: str) -> dict[str, Any]:
    """The mail's row, its columns in the order of statements.new_messages()."""
    fields, _ = split_header(submission.content)
    envelope = submission.envelope
    senders = addresses_in(header_values(fields, b"from"))
    from_address = senders[0].email.replace("\x00", "")[:254] if senders else envelope.sender
    subject = readable(b" ".join(header_values(fields, b"subject")[:1]))[:500]
    message_ids = [value for value in header_values(fields, b"message-id") if value]  # an empty one doesn't leave
    message_id = readable(b" ".join(message_ids[:1]))[:998] or new_message_id(stage_sender or envelope.sender)
    hold_reason = decided.hold_reason or (None if stage_sender else HoldReason.STAGE_NOT_CONFIGURED)
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
        "list_version": test_list.version,
        "notes": [*(_resent_notes(resent, decided, test_list) if resent else []), *sender_notes(envelope.sender)],
        "resent_from": resent.original.pk if resent else None,
        "status": (Status.HELD if hold_reason else Status.QUEUED).value,
        "hold_reason": hold_reason.value if hold_reason else "",
        "owner": "",
    }


def new_message_id(sender: str) -> str:
    """One that ends in the sender's domain: what this machine is called may be no domain at all."""
    return make_msgid(domain=normalized_domain(sender) or str(DNS_NAME))


def _resent_notes(resent: Resent, decided: Route, test_list: ListState) -> list[str]:
    notes = [f"Resent from #{resent.original.pk} by {resent.by}."]
    if decided.kind == RouteKind.RELEASED:
        notes.append(f"Released to the real recipients by {resent.by}: the test list doesn't catch this mail.")
    elif decided.kind == RouteKind.TEST_LIST and not test_list.active:
        notes.append("The mail it repeats was test mail, so it goes to the people on the test list, although that is Inactive.")
    return notes
