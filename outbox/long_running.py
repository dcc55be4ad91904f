"""For processes that run until they are stopped."""

from __future__ import annotations

import gc


def spare_the_collector() -> None:
    """What is loaded by now stays. Python's garbage collector looks through all of it again and again otherwise, which takes a
    tenth of a busy worker's time."""
    gc.collect()
    gc.freeze()
