"""Whether the last email that this process was to store found room for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, transaction

from common import sql
from outbox import statements

_TRIED_BYTES = 64 * 1024
_full = False


@contextmanager
def watched() -> Iterator[None]:
    """Around what stores emails."""
    global _full  # noqa: PLW0603  # it is the process's
    try:
        yield
    except DatabaseError as error:
        _full = _full or sql.is_out_of_space(error)
        raise
    _full = False


def has_room() -> bool:
    """Once there was none it is tried out, since nobody may send another email until this says that there is."""
    if _full:
        _try_out()
    return not _full


def _try_out() -> None:
    """Write as much as an email, and take it back."""
    try:
        with watched(), transaction.atomic():
            sql.insert(statements.new_contents([(0, os.urandom(_TRIED_BYTES))]))
            transaction.set_rollback(True)
    except DatabaseError:
        return
