"""What an act changed, in words."""

from __future__ import annotations

from typing import NamedTuple

from organization.models import AuditEvent


class Change(NamedTuple):
    """One value that an act set, changed or took away, in words."""

    name: str
    words: str

    def __str__(self) -> str:
        return f"{self.name}: {self.words}"


def changes_of(event: AuditEvent) -> list[Change]:
    """By name. What is empty before and after says nothing."""
    changes = []
    for name in sorted({*event.before, *event.after}):
        before, after = _words(event.before.get(name)), _words(event.after.get(name))
        if before or after:
            both = f"{before or '–'} → {after or '–'}"
            changes.append(Change(name.replace("_", " "), both if event.before and event.after else before or after))
    return changes


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {one}" for name, one in value.items())
    return "" if value is None else str(value)
