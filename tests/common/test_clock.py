"""Every time in a statement comes from the same clock."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.portal import ROOMS, ROOT


def test_every_time_in_a_statement_comes_from_one_place():
    """`Dialect.now`: another clock, or the same in another form, compares wrongly with what is stored."""
    others = re.compile(
        r"CURRENT_(TIMESTAMP|TIME|DATE)\b|\b(datetime|date|julianday|unixepoch)\('now'|\bnow\(\)|clock_timestamp\(|"
        r"localtimestamp|transaction_timestamp\(|strftime\('|statement_timestamp\(",
        re.IGNORECASE,
    )
    rooms = [path for room in ROOMS for path in Path(ROOT, room).rglob("*.py")]
    found = {
        (path.name, match.group())
        for path in rooms
        if "migrations" not in path.parts and path != Path(ROOT, "common", "sql.py")
        for match in others.finditer(re.sub(r"\b(timezone|datetime|database_)\.?now\(\)|\bNow\(\)", "", path.read_text()))
    }
    assert found == set()
