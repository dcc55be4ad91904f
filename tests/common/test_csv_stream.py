"""What a spreadsheet makes of an export, whichever character it splits at."""

from __future__ import annotations

import csv

import pytest

from common.csv_stream import csv_lines


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("\t=1", "'\t'=1"),
        ("Hello;=1+1", "Hello;'=1+1"),
        ("Hello\t@SUM(1)", "Hello\t'@SUM(1)"),
        ('Hello; "=1', "Hello; \"'=1"),
        ("Hello\r\n-1", "Hello\r\n'-1"),
        (" =1", " '=1"),
        ("ana@example.com; bob@example.com", "ana@example.com; bob@example.com"),
        ("Hello - world; 3 = 3", "Hello - world; 3 = 3"),
    ],
)
def test_no_cell_starts_a_formula_for_any_reader(cell: str, written: str) -> None:
    file = "".join(csv_lines([["1", cell]])).removeprefix("\ufeff")
    assert next(csv.reader([file] if "\n" not in cell else file.splitlines(keepends=True))) == ["1", written]
    for separator in ";\t":
        for line in file.splitlines():
            for piece in line.split(separator):
                assert not piece.strip(" \"'\t").startswith(("=", "@", "+")) or "'" in piece


def test_long_cells_are_written_in_time() -> None:
    assert "".join(csv_lines([['\t;\n"' * 200_000]]))
