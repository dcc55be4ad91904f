"""When to try a recipient again who wasn't reached."""

from __future__ import annotations

import random
from datetime import timedelta

# Pauses before the second, third, … try of a recipient; then hourly (RFC 5321 section 4.5.4.1 asks for days, not hours).
# Time during which the stage's server failed counts as no try.
_FIRST_PAUSES = [timedelta(minutes=minutes) for minutes in (1, 2, 5, 15, 30)]
_LATER_PAUSE = timedelta(hours=1)
_LATER_TRIES = 47
# Longer than any pause we set: a due time further off comes from a clock that jumped, and counts as due.
LONGEST_PAUSE = timedelta(hours=2)

PAUSES = _FIRST_PAUSES + [_LATER_PAUSE] * _LATER_TRIES


def next_pause(tries: int) -> timedelta | None:
    """How long to wait after this number of tries; None: give up.

    The pause is a little random, so that the recipients don't all come back at once.
    """
    if tries > len(PAUSES):
        return None
    return PAUSES[tries - 1] * random.uniform(0.9, 1.1)  # noqa: S311  # no secret depends on it
