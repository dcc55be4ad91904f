"""What is read from a pasted list: names and addresses, by row."""

from __future__ import annotations

import pytest

from common.addresses import NamedAddress
from testlists.paste_parser import parse_paste


def people_of(text: str) -> list[NamedAddress | None]:
    return [entry.person for entry in parse_paste(text)]


@pytest.mark.parametrize(
    "pasted",
    [
        "Ana Silva\tana@example.com",
        "ana@example.com\tAna Silva",
        "  Ana Silva \t ana@example.com \t",
        '"Ana Silva"\tana@example.com',
        "Ana Silva\tAna S. <ana@example.com>",
        "Ana Silva <ana@example.com>",
    ],
)
def test_name_and_address_are_read_from_two_columns_in_either_order(pasted: str) -> None:
    assert people_of(pasted) == [NamedAddress("ana@example.com", "Ana Silva")]


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("Silva, Ana", "Silva, Ana"),
        ('"Silva, ""Ana"""', 'Silva, "Ana"'),
        ("<Ana>; the tester", "<Ana>; the tester"),
        ("アナ", "アナ"),
        ('"', '"'),
        ('""', ""),
    ],
)
def test_a_cell_may_hold_what_a_typed_name_may_not(cell: str, name: str) -> None:
    assert people_of(f"{cell}\tana@example.com") == [NamedAddress("ana@example.com", name)]


def test_two_addresses_on_a_line_are_two_people() -> None:
    assert people_of("ana@example.com\tbob@example.com") == [NamedAddress("ana@example.com"), NamedAddress("bob@example.com")]


@pytest.mark.parametrize(
    "titles",
    ["Name\tE-mail", "E-MAIL\tName", "email", "Name,Address", '"Full name"\t"Email address"', "Name\t\t"],  # words: quoted
)
def test_column_titles_are_left_out(titles: str) -> None:
    first, second = parse_paste(f"\n{titles}\nAna\tana@example.com")
    assert (first.person, first.problem) == (None, "")
    assert (second.number, second.person) == (2, NamedAddress("ana@example.com", "Ana"))


@pytest.mark.parametrize("text", ["Name", "Name\tE-mail", "ana@example.com\nName\tE-mail", "Ann\tMail\nana@example.com", ",\n,"])
def test_what_may_be_a_persons_mistake_is_no_title(text: str) -> None:
    assert all(entry.person or entry.problem for entry in parse_paste(text))


@pytest.mark.parametrize(
    "row", ["Ana Silva\tana.example.com", "ana.example.com", "Ana\t@", "Ana\u202e\tana@example.com", "a\tb\tc"]
)
def test_what_names_nobody_is_told(row: str) -> None:
    assert all(entry.person is None and entry.problem for entry in parse_paste(row))
