"""Read the mailboxes of an address header (RFC 5322 section 3.4), in the same way on every version of Python.

The standard library's own parser has changed between patch releases, and some refuse what others accept. The names that a
message carries must not depend on that. The time is linear in the length of the text, whatever it holds.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_OUTSIDE_COMMENT = re.compile(rf'{_QUOTED}|\\.|[()]|[^"\\()]+|.', re.DOTALL)
_INSIDE_COMMENT = re.compile(r"\\.|[()]|[^\\()]+|.", re.DOTALL)
# The text between commas. A semicolon ends a group, and some programs write one for a comma.
_ENTRY = re.compile(rf'(?:{_QUOTED}|\\.|<[^<>]*>|[^"\\,;<]|["\\<])+', re.DOTALL)
_GROUP_NAME = re.compile(rf'\A\s*(?:{_QUOTED}|[^"<>@:\[])*:', re.DOTALL)
_NAME_AND_ADDRESS = re.compile(rf'((?:{_QUOTED}|\\.|[^"\\<>])*)<([^<>]*)>', re.DOTALL)
_NOT_IN_ATOM = r'\x00-\x20\x7f"(),:;<>@\[\]\\'
_ADDRESS = re.compile(rf"(?:{_QUOTED}|[^{_NOT_IN_ATOM}]+)@(?:[^{_NOT_IN_ATOM}]+|\[[^\x00-\x20\x7f\[\]\\]*\])", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Mailbox(NamedTuple):
    name: str
    address: str


class Mailboxes(NamedTuple):
    """`people` in their order. `complete`: nothing else in the text may be an address to a program that reads it another way."""

    people: list[Mailbox]
    complete: bool

    @property
    def is_whole(self) -> bool:
        """Whether the header names people, and can name no others."""
        return self.complete and bool(self.people)


def read_mailboxes(text: str) -> Mailboxes:
    """The mailboxes in the text. An entry without an @-sign names no one, such as `Acme` in `Acme, Inc. <crm@acme.example>`."""
    plain, comment, complete = _without_comments(text)
    entries = _entries(plain)
    people: list[Mailbox] = []
    for entry in entries:
        mailbox = _read(entry, comment if len(entries) == 1 else "")
        if mailbox is not None:
            people.append(mailbox)
        elif "@" in entry:
            complete = False
    return Mailboxes(people, complete)


def _without_comments(text: str) -> tuple[str, str, bool]:
    """The text, its comments, and whether each of them was closed."""
    plain: list[str] = []
    comment: list[str] = []
    depth = position = 0
    while position < len(text):
        token = (_INSIDE_COMMENT if depth else _OUTSIDE_COMMENT).match(text, position)
        assert token is not None  # both end with an alternative that matches anything
        position = token.end()
        piece = token.group()
        if piece == "(":
            depth += 1
        elif piece == ")" and depth:
            depth -= 1
            plain.append(" ")
        else:
            (comment if depth else plain).append(piece)
    return "".join(plain), "".join(comment).strip(), depth == 0


def _entries(plain: str) -> list[str]:
    """The texts between commas, without the names of groups."""
    return [_GROUP_NAME.sub("", entry, count=1).strip() for entry in _ENTRY.findall(plain)]


def _read(entry: str, comment: str) -> Mailbox | None:
    named = _NAME_AND_ADDRESS.fullmatch(entry)
    # The name of a bare address is the text in brackets after it: `crm@acme.example (Acme, Inc.)`.
    name, address = (_unquoted(named[1]), named[2].strip()) if named else (comment, entry)
    return Mailbox(name, address) if _ADDRESS.fullmatch(address) else None


def _unquoted(name: str) -> str:
    """A display name without its quotation marks."""
    return " ".join(_ESCAPED.sub(r"\1", re.sub(r'(?<!\\)"', "", name)).split())
