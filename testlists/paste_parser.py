"""Read pasted people: typed addresses, or one or two columns of a spreadsheet.

Two columns are name and address in either order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.core.exceptions import ValidationError

from common.addresses import NamedAddress, parse_named_address, printable, split_addresses
from testlists.services import TOO_MANY

MAX_ENTRIES = 1_000
_TITLES_OF_PEOPLE = ("name", "names", "full name", "display name", "member", "person", "recipient", "user", "tester")
_TITLES_OF_ADDRESSES = ("e-mail", "email", "mail", "address", "e-mail address", "email address", "mail address")  # words: quoted
_TITLES = frozenset([*_TITLES_OF_PEOPLE, *_TITLES_OF_ADDRESSES, "e-mails", "emails", "addresses"])  # words: quoted


@dataclass(frozen=True)
class PastedEntry:
    """A pasted entry: its person, or its problem.

    Column titles have neither.
    """

    number: int
    text: str  # safe to show
    person: NamedAddress | None = None
    problem: str = ""


def parse_paste(text: str) -> list[PastedEntry]:
    """The entries of `text`, numbered from 1.

    Raises ValidationError if there are more than MAX_ENTRIES.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    titles = lines[:1] if len(lines) > 1 and _are_titles(lines[0]) else []
    entries = [entry for line in lines[len(titles) :] for entry in _entries(line)]
    if len(entries) > MAX_ENTRIES:
        raise ValidationError(f"{TOO_MANY} You pasted {len(entries):,}.")
    return [
        *(PastedEntry(1, printable(" ".join(line.split()))) for line in titles),
        *(_read(number, entry) for number, entry in enumerate(entries, start=1 + len(titles))),
    ]


def _are_titles(line: str) -> bool:
    words = [word.strip(' "').lower() for word in re.split(r"[\t,;]", line)]
    return any(words) and all(not word or word in _TITLES for word in words)


def _entries(line: str) -> list[tuple[str, ...]]:
    """The cells of each entry in the line.

    Two cells of a spreadsheet, a name and an address, are one entry. Any other cell is an entry itself.
    """
    cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
    if len(cells) == 2 and not all("@" in cell for cell in cells):
        return [tuple(cells)]
    return [(entry,) for entry in split_addresses(line)]


def _read(number: int, cells: tuple[str, ...]) -> PastedEntry:
    shown = printable(" ".join(cells))
    try:
        return PastedEntry(number, shown, _person(*cells))
    except ValidationError as error:
        return PastedEntry(number, shown, problem=error.messages[0])


def _person(first: str, second: str = "") -> NamedAddress:
    if not second:
        return parse_named_address(first)
    name, address = (second, first) if "@" in first else (first, second)
    if len(name) > 1 and name[0] == name[-1] == '"':  # a spreadsheet quotes a cell that contains quotes or commas
        name = name[1:-1].replace('""', '"').strip()
    email = parse_named_address(address).email
    return parse_named_address(str(NamedAddress(email, name)))
