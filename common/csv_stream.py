"""Stream a CSV file for a spreadsheet, line by line.

However long the file is, only a little of it is in memory.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

from django.http import StreamingHttpResponse
from django.utils import timezone

# A spreadsheet runs a cell as a formula if it starts with one of these characters. A spreadsheet that splits at semicolons or
# tabs ignores our quotes, so that for it a new cell also starts after each of these and after each line break.
_FORMULA = re.compile(r"((?:^|[;\t\r\n])[\s;\"']*+)([=+\-@＝＋－＠]?)")
_CONTROL_STARTS = ("\t", "\r", "\n")
_BYTE_ORDER_MARK = "\ufeff"  # without it Excel doesn't read UTF-8


class _Line:
    """A file for csv.writer that returns each line instead of storing it."""

    def write(self, text: str) -> str:
        return text


def csv_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield _BYTE_ORDER_MARK
    for row in rows:
        yield str(writer.writerow([_harmless(cell) for cell in row]))


def csv_download(name: str, lines: Iterator[str]) -> StreamingHttpResponse:
    """The response that a browser saves as a file, with today's date in its name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}-{timezone.localdate():%Y-%m-%d}.csv"'}
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


def _harmless(cell: str) -> str:
    text = _FORMULA.sub(lambda start: f"{start[1]}'{start[2]}" if start[2] else start[1], cell)
    return f"'{text}" if text.startswith(_CONTROL_STARTS) else text
