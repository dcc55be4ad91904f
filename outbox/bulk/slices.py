"""Carry out an act on some messages together, in the caller's transaction. That costs little more than on one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from django.db.models import QuerySet

from common import sql
from outbox import actions, statements
from outbox.bulk.checks import Act, Checks
from outbox.exceptions import SubmissionRefused
from outbox.models import WAITING, Content, Message, Recipient, Source, Status
from outbox.states import end_together, queue_together
from outbox.submission import submit_together
from outbox.values import Resend, Submission

_RESENT_BYTES_AT_ONCE = 8 * 1024 * 1024
# What an act may change. A message that is being sent is never locked: its worker writes its outcome meanwhile.
_NOT_SENDING = [status for status in Status if status != Status.SENDING]


class SliceResult(NamedTuple):
    """How many messages were changed, and how many were left out, by reason."""

    done: int
    left_out: Counter[str]


def lock(numbers: Collection[int]) -> list[Message]:
    """The messages with these numbers as they are stored, locked until the transaction ends, the oldest first."""
    rows = Message.objects.filter(pk__in=numbers, status__in=_NOT_SENDING).order_by("pk").select_for_update(of=("self",))
    return list(rows.select_related("app", "stage").prefetch_related("recipients").defer("search_text"))


def carry_out(checks: Checks, numbers: Sequence[int], by: str) -> SliceResult:
    """Carry out the act on those of these messages that it may change."""
    messages = lock(numbers)
    reasons = checks.why_not(messages)
    left_out = Counter(reason for reason in reasons.values() if reason)
    if being_sent := len(numbers) - len(messages):
        left_out["It is being sent, or was removed."] += being_sent
    chosen = [message for message in messages if not reasons[message.pk]]
    refused = _CHANGES[checks.act](chosen, checks, by) if chosen else Counter()
    return SliceResult(len(chosen) - refused.total(), left_out + refused)


def within_bytes(messages: QuerySet[Message], numbers: Sequence[int]) -> list[int]:
    """The first of these messages whose contents fit into the memory that a slice may use: one at least."""
    sizes = dict(messages.filter(pk__in=numbers).values_list("pk", "size"))
    total = 0
    chosen: list[int] = []
    for number in numbers:
        total += sizes.get(number, 0)
        if chosen and total > _RESENT_BYTES_AT_ONCE:
            break
        chosen.append(number)
    return chosen


def _retry(messages: Sequence[Message], checks: Checks, by: str) -> Counter[str]:
    numbers = [message.pk for message in messages]
    Recipient.objects.filter(message__in=numbers, status__in=WAITING).update(due=checks.now)
    Message.objects.filter(pk__in=numbers).update(due=checks.now)
    return Counter()


def _end(messages: Sequence[Message], checks: Checks, by: str) -> Counter[str]:
    end_together([message.pk for message in messages], checks.options.words)
    for message in messages:
        message.notes = [*message.notes, checks.options.words]
    Message.objects.bulk_update(messages, ["notes"])
    return Counter()


def _release(messages: Sequence[Message], checks: Checks, by: str) -> Counter[str]:
    queue_together([message.pk for message in messages])
    return Counter()


def _resend(messages: Sequence[Message], checks: Checks, by: str) -> Counter[str]:
    """Submit each again, and note it on the message that is repeated, so that it isn't resent a second time."""
    nobody: frozenset[str] = frozenset()
    reached = {} if checks.options.everybody else actions.reached_by(messages)
    repeats = [Resend(message, by, reached=reached.get(message.pk, nobody)) for message in messages]
    contents = dict(Content.objects.filter(pk__in=[message.pk for message in messages]).values_list("pk", "data"))
    answers = submit_together([_submission(repeat, bytes(contents[repeat.original.pk])) for repeat in repeats])
    refused: Counter[str] = Counter()
    noted: list[dict[str, object]] = []
    for message, answer in zip(messages, answers, strict=True):
        if isinstance(answer, SubmissionRefused):
            refused[answer.text] += 1
        else:
            notes = [*message.notes, f"Resent as #{answer.pk} by {by}."]
            noted.append({"id": message.pk, "resent_as": answer.pk, "notes": notes})
    # Django's bulk_update() took a tenth of a busy worker's time.
    sql.run(statements.NOTE_RESENDS, json.dumps(noted))
    return refused


def _submission(repeat: Resend, content: bytes) -> Submission:
    original = repeat.original
    envelope = actions.envelope_again(original, repeat)
    return Submission(original.app, original.stage, envelope, content, Source.RESEND, resent=repeat)


_CHANGES: dict[Act, Callable[[Sequence[Message], Checks, str], Counter[str]]] = {
    Act.RETRY: _retry,
    Act.CANCEL: _end,
    Act.DISCARD: _end,
    Act.RELEASE: _release,
    Act.RESEND: _resend,
}
