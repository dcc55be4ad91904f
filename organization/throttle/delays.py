"""How long a guesser has to wait. Pure, so that a table can test it."""

from __future__ import annotations

from datetime import timedelta

# So many failures cost nothing: people mistype. A network may have many people.
ALLOWED_FOR_PAIR = 5
ALLOWED_FOR_NETWORK = 20
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=15)
# Half of the failures are forgotten after each of these.
HALF_LIFE = timedelta(hours=1)
# A name that succeeded from a network so recently isn't held back by other names that fail there.
TRUSTED_AFTER_SUCCESS = timedelta(hours=24)
_LONGEST_DOUBLING = 16


def wait_after(failures: int, allowed: int) -> timedelta:
    """The wait after the last of so many failures. It doubles with each one."""
    if failures < allowed:
        return timedelta(0)
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << min(failures - allowed, _LONGEST_DOUBLING)))


def remembered(failures: int, since_last: timedelta) -> int:
    """How many of the failures still count, when the last one was so long ago."""
    halvings = max(0, since_last // HALF_LIFE)
    return failures >> min(halvings, failures.bit_length())
