"""Give a verdict on each pasted entry.

The preview while you type and Save itself both use it, so that they agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from common.addresses import NamedAddress, may_be_incomplete, same_address_key
from organization.models import Member
from testlists.models import MAX_ADDRESSES, TestListAddress
from testlists.paste_parser import PastedEntry, parse_paste
from testlists.services import problems_of, resolve

_SHOWN_AT_MOST = 100


class Verdict(Enum):
    """What Save will do with an entry, in the order of the summary."""

    ADDED = "Will be added"
    MEMBER = "Member"
    LISTED = "Already on the list"
    TWICE = "Pasted twice"
    TITLES = "Column titles"
    WRONG = "Not an address"


@dataclass(frozen=True)
class Row:
    """A pasted entry and its verdict.

    `person` is the person to add. `reason` explains the verdict where that is needed.
    """

    number: int
    text: str
    verdict: Verdict
    reason: str = ""
    person: NamedAddress | None = None

    @property
    def is_added(self) -> bool:
        return self.verdict in (Verdict.ADDED, Verdict.MEMBER)

    @property
    def kind(self) -> str:
        """The verdict's name, for templates."""
        return self.verdict.name.lower()


@dataclass(frozen=True)
class Preview:
    """All entries, and the number of people who stay on the list besides them."""

    rows: Sequence[Row]
    staying: int

    at_most = MAX_ADDRESSES

    @property
    def added(self) -> list[NamedAddress]:
        """The people that Save adds, if no entry is wrong."""
        return [row.person for row in self.rows if row.is_added and row.person is not None]

    @property
    def wrong(self) -> list[Row]:
        return [row for row in self.rows if row.verdict is Verdict.WRONG]

    @property
    def after(self) -> int:
        """The number of people on the list after Save."""
        return self.staying + len(self.added)

    @property
    def counts(self) -> list[tuple[str, str, int]]:
        """Kind, label and number of each verdict that occurs.

        A member counts as added.
        """
        counted = Counter(Verdict.ADDED if row.is_added else row.verdict for row in self.rows)
        return [(verdict.name.lower(), verdict.value, counted[verdict]) for verdict in Verdict if counted[verdict]]

    @property
    def shown(self) -> list[Row]:
        """The entries to show, the wrong ones first, because you must correct those."""
        return sorted(self.rows, key=lambda row: row.verdict is not Verdict.WRONG)[:_SHOWN_AT_MOST]

    @property
    def hidden(self) -> int:
        return max(0, len(self.rows) - _SHOWN_AT_MOST)


def preview_of(text: str, members: Sequence[Member], people: Sequence[NamedAddress]) -> Preview:
    """Give a verdict on each entry of `text`; `members` and `people` are already listed.

    Raises ValidationError if there are too many entries to check.
    """
    pasted = parse_paste(text)
    staying = {same_address_key(entry.person.email) for entry in resolve(members, people)}
    entries = iter(resolve([], [pasted_entry.person for pasted_entry in pasted if pasted_entry.person is not None]))
    rows: list[Row] = []
    keys: set[str] = set()
    for pasted_entry in pasted:
        if pasted_entry.person is None:
            rows.append(_unread(pasted_entry))
            continue
        entry = next(entries)
        key = same_address_key(entry.person.email)
        if problems := problems_of(entry):
            rows.append(Row(pasted_entry.number, pasted_entry.text, Verdict.WRONG, problems[0]))
        elif key in staying:
            rows.append(Row(pasted_entry.number, pasted_entry.text, Verdict.LISTED, person=entry.person))
        elif key in keys:
            rows.append(Row(pasted_entry.number, pasted_entry.text, Verdict.TWICE, "Added once.", entry.person))
        else:
            keys.add(key)
            verdict = Verdict.MEMBER if entry.is_member else Verdict.ADDED
            rows.append(Row(pasted_entry.number, pasted_entry.text, verdict, _reason(entry), entry.person))
    return Preview(rows, len(staying))


def _reason(entry: TestListAddress) -> str:
    if entry.is_member:
        return "This is a member's address."
    return "Its domain has no dot. Is it complete?" if may_be_incomplete(entry.person.email) else ""


def _unread(entry: PastedEntry) -> Row:
    if entry.problem:
        return Row(entry.number, entry.text, Verdict.WRONG, entry.problem)
    return Row(entry.number, entry.text, Verdict.TITLES, "Ignored.")
