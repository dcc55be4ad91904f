"""A CSV file for a spreadsheet, line by line: however long it is, little of it is in memory at once."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

from django.http import StreamingHttpResponse
from django.utils import timezone

# A spreadsheet takes what starts with one of these characters for a formula and runs it. A cell starts where we start one;
# and, for a spreadsheet that splits at semicolons or tabs and then ignores our quotes, behind each of those and each line.
_FORMULA = re.compile(r"((?:^|[;\t\r\n])[\s;\"']*+)([=+\-@＝＋－＠]?)")
_CONTROL_STARTS = ("\t", "\r", "\n")
_BYTE_ORDER_MARK = "\ufeff"  # without it Excel doesn't read UTF-8


class _Line:
    """A file that csv writes to, and that gives back what was written."""

    def write(self, text: str) -> str:
        return text


def csv_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield _BYTE_ORDER_MARK
    for row in rows:
        yield str(writer.writerow([_harmless(cell) for cell in row]))


def csv_download(name: str, lines: Iterator[str]) -> StreamingHttpResponse:
    """The answer that a browser saves, under a name with today's date."""
    headers = {"Content-Disposition": f'attachment; filename="{name}-{timezone.localdate():%Y-%m-%d}.csv"'}
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


def _harmless(cell: str) -> str:
    text = _FORMULA.sub(lambda start: f"{start[1]}'{start[2]}" if start[2] else start[1], cell)
    return f"'{text}" if text.startswith(_CONTROL_STARTS) else text
