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
from testlists.paste_parser import Pasted, read_pasted
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
        found = Counter(Verdict.ADDED if row.is_added else row.verdict for row in self.rows)
        return [(verdict.name.lower(), verdict.value, found[verdict]) for verdict in Verdict if found[verdict]]

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
    pasted = read_pasted(text)
    staying = {same_address_key(entry.person.email) for entry in resolve(members, people)}
    entries = iter(resolve([], [one.person for one in pasted if one.person is not None]))
    rows: list[Row] = []
    seen: set[str] = set()
    for one in pasted:
        if one.person is None:
            rows.append(_unread(one))
            continue
        entry = next(entries)
        key = same_address_key(entry.person.email)
        if problems := problems_of(entry):
            rows.append(Row(one.number, one.text, Verdict.WRONG, problems[0]))
        elif key in staying:
            rows.append(Row(one.number, one.text, Verdict.LISTED, person=entry.person))
        elif key in seen:
            rows.append(Row(one.number, one.text, Verdict.TWICE, "Added once.", entry.person))
        else:
            seen.add(key)
            verdict = Verdict.MEMBER if entry.is_member else Verdict.ADDED
            rows.append(Row(one.number, one.text, verdict, _reason(entry), entry.person))
    return Preview(rows, len(staying))


def _reason(entry: TestListAddress) -> str:
    if entry.is_member:
        return "This is a member's address."
    return "Its domain has no dot. Is it complete?" if may_be_incomplete(entry.person.email) else ""


def _unread(one: Pasted) -> Row:
    if one.problem:
        return Row(one.number, one.text, Verdict.WRONG, one.problem)
    return Row(one.number, one.text, Verdict.TITLES, "Ignored.")
