"""Waiting for something that ends soon."""

from __future__ import annotations

import time
from collections.abc import Callable

_PAUSE_SECONDS = 0.1


def wait_until_zero(count: Callable[[], int], seconds: float) -> int:
    """Ask `count` until it is 0, for at most so many seconds. Returns what it said last."""
    deadline = time.monotonic() + seconds
    while (left := count()) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    return left
