"""Describe the changes of an audit event in words."""

from __future__ import annotations

from typing import NamedTuple

from common.addresses import masked_address
from organization.models import AuditEvent


class Change(NamedTuple):
    """One value that was set, changed or removed, in words."""

    name: str
    words: str

    def __str__(self) -> str:
        return f"{self.name}: {self.words}"


def changes_of(event: AuditEvent, *, sees_addresses: bool) -> list[Change]:
    """The changes of an event, by name.

    A value that is empty before and after is left out. The addresses on a test list are masked unless `sees_addresses`.
    """
    changes = []
    for name in sorted({*event.before, *event.after}):
        before, after = event.before.get(name), event.after.get(name)
        if name == "addresses" and not sees_addresses:
            before, after = _masked(before), _masked(after)
        before, after = _words(before), _words(after)
        if before or after:
            both = f"{before or '–'} → {after or '–'}"
            changes.append(Change(name.replace("_", " "), both if event.before and event.after else before or after))
    return changes


def _masked(people: list[str] | None) -> list[str]:
    return [masked_address(person.rpartition("<")[2].removesuffix(">")) for person in people or []]


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {one}" for name, one in value.items())
    return "" if value is None else str(value)
