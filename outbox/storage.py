"""Whether the database had room for the last message that this process tried to store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, transaction

from common import sql
from common.inserts import insert
from outbox import statements

_TRIED_BYTES = 64 * 1024
_full = False


@contextmanager
def watched() -> Iterator[None]:
    """Note whether the statements inside, which store messages, find the database full."""
    global _full  # noqa: PLW0603  # it is the process's
    try:
        yield
    except DatabaseError as error:
        _full = _full or sql.is_out_of_space(error)
        raise
    _full = False


def has_room() -> bool:
    """Whether there is room. After there was none, each call tries to write, because no app can send until there is room."""
    if _full:
        _try_out()
    return not _full


def _try_out() -> None:
    """Write as much as an email, and roll it back."""
    try:
        with watched(), transaction.atomic():
            insert(statements.new_contents([(0, os.urandom(_TRIED_BYTES))]))
            transaction.set_rollback(True)
    except DatabaseError:
        return
