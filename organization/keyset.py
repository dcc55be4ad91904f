"""Pages of a log by the numbers of its rows, newest first (decision 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model
from django.http import HttpRequest, QueryDict

from organization.web.http import is_row_number

R = TypeVar("R", bound=Model)

PAGE = 50
# Read one row more than a page shows: it tells whether there is another page.
ROWS_TO_READ = PAGE + 1
_POSITIONS = ("before", "after", "above")


@dataclass(frozen=True)
class Page(Generic[R]):
    """`newer` and `older` are the numbers that the pages beside it start from; None where there is none."""

    rows: Sequence[R]
    newer: int | None = None
    older: int | None = None


def page_below(rows: Sequence[R], before: int | None) -> Page[R]:
    """The page of `rows`, the next ones below the number `before`, or the newest; the newest first."""
    shown = rows[:PAGE]
    newer = None if before is None else (shown[0].pk if shown else before - 1)
    return Page(shown, newer, shown[-1].pk if len(rows) > PAGE else None)


def page_above(rows: Sequence[R], after: int) -> Page[R]:
    """The page of `rows`, the next ones above the number `after`; the oldest first."""
    shown = rows[:PAGE][::-1]
    older = shown[-1].pk if shown else after + 1
    return Page(shown, shown[0].pk if len(rows) > PAGE else None, older)


def row_number(data: QueryDict, name: str) -> int | None:
    """The number that the URL names; None where it names none, or what can't be one."""
    text = data.get(name, "")
    return int(text) if is_row_number(text) else None


def query_url(request: HttpRequest, **position: int) -> str:
    """The query of the same filters at another place; empty without any."""
    query = request.GET.copy()
    for name in _POSITIONS:
        query.pop(name, None)
    query.update({name: str(value) for name, value in position.items()})
    return f"?{query.urlencode()}" if query else ""
