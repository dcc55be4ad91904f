"""What a refusal asks us to change before the same message goes again: fewer recipients at once, or shorter lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from delivery.values import Outcome
from delivery.wire.long_lines import why_not
from delivery.wire.smtp_dialogue import MailTransaction
from outbox.attempt_outcome import AttemptOutcome

# In words or by RFC 3463's X.5.3. Amazon SES says `554 Transaction failed: Recipient count exceeds 50.`
_TOO_MANY = re.compile(
    r"\b[45]\.5\.3\b|too many recipients|recipient (count|limit)|(number|count) of recipients|recipients per|maximum recipients",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"lines? (is |are |was |were )?too long|too long (a )?lines?|line[- ]length|lines? longer|long lines?|line exceeds|\b998\b",
    re.IGNORECASE,
)
_GOES_SHORTER = "The server refuses its long lines. It is sent again with its long parts re-encoded."


class SecondTry(NamedTuple):
    """The outcomes after the decision about a second try.

    `most_recipients`: how many to offer in one transaction from now on; 0: as before. `short_lines`: the message's long parts
    leave re-encoded from now on.
    """

    outcomes: Sequence[Outcome]
    most_recipients: int = 0
    short_lines: bool = False


def second_try(transaction: MailTransaction, *, short_lines: bool, content: Callable[[], bytes]) -> SecondTry:
    """Decide whether the message goes again at once, and how.

    `short_lines`: this was the try with shorter lines. `content` gives the message as it was offered.
    """
    if most := _most_recipients(transaction):
        return SecondTry(
            [_at_once(outcome) if _says_too_many(outcome) else outcome for outcome in transaction.outcomes], most_recipients=most
        )
    if short_lines or not any(map(_says_too_long, transaction.outcomes)):
        return SecondTry(transaction.outcomes)
    if reason := why_not(content()):
        return SecondTry(
            [
                outcome._replace(reply=f"{outcome.reply.rstrip('.')}. {reason}") if _says_too_long(outcome) else outcome
                for outcome in transaction.outcomes
            ]
        )
    changed = [_at_once(outcome, _GOES_SHORTER) if _says_too_long(outcome) else outcome for outcome in transaction.outcomes]
    return SecondTry(changed, short_lines=True)


def _most_recipients(transaction: MailTransaction) -> int:
    """How many recipients to offer next time, always fewer than were offered.

    0 when the server didn't complain about their number, or when there was only one.
    """
    complaints = [outcome for outcome in transaction.outcomes if _says_too_many(outcome)]
    offered = len(transaction.mail.recipients)
    if not complaints or offered == 1:
        return 0
    if complaints[0].step in ("content", "DATA"):
        return len(transaction.accepted) // 2
    return len(transaction.accepted) or offered // 2


def _says_too_many(outcome: Outcome) -> bool:
    return outcome.result in (AttemptOutcome.FAILED, AttemptOutcome.DEFERRED) and bool(_TOO_MANY.search(outcome.reply))


def _says_too_long(outcome: Outcome) -> bool:
    return outcome.result == AttemptOutcome.FAILED and outcome.step == "content" and bool(_TOO_LONG.search(outcome.reply))


def _at_once(outcome: Outcome, remark: str = "") -> Outcome:
    reply = f"{outcome.reply} {remark}".strip()
    return outcome._replace(result=AttemptOutcome.DEFERRED, at_once=True, reply=reply)
