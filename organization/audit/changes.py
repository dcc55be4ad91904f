"""Describe the changes of an audit event in words: names of fields as forms show them, and values as people read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from functools import cache
from typing import Any, NamedTuple

from django.apps import apps
from django.db import models
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.text import capfirst

from common.addresses import masked_address
from organization.models import AuditEvent

# Counted up with each change, so they say nothing to a person.
_NUMBERS = {"id", "version", "active_version", "policy_version", "listed_since", "open_since"}


class Change(NamedTuple):
    """One value that was set, changed or removed, in words."""

    name: str
    words: str

    def __str__(self) -> str:
        return f"{self.name}: {self.words}"


def changes_of(event: AuditEvent, *, sees_addresses: bool, zone: tzinfo | None = None) -> list[Change]:
    """The changes of an event, by name.

    A value that is empty before and after is left out. The addresses on a test list are masked unless `sees_addresses`. Times
    are in `zone`, or else in the current time zone.
    """
    changes = []
    for name in sorted({*event.before, *event.after} - _NUMBERS):
        before, after = event.before.get(name), event.after.get(name)
        if name == "addresses" and not sees_addresses:
            before, after = _masked(before), _masked(after)
        label, describe = _reading(event.entity, name, zone)
        if words := _change(before, after, describe, is_update=bool(event.before and event.after)):
            changes.append(Change(label, words))
    return changes


def _change(before: Any, after: Any, describe: Callable[[Any], str], *, is_update: bool) -> str:
    if isinstance(before, list) and isinstance(after, list):
        return _list_change(before, after)
    old, new = describe(before), describe(after)
    if not old and not new:
        return ""
    return f"{old or '–'} → {new or '–'}" if is_update else old or new


def _list_change(before: Sequence[Any], after: Sequence[Any]) -> str:
    """Only what was added to a list, and what was removed from it."""
    added = [str(item) for item in after if item not in before]
    removed = [str(item) for item in before if item not in after]
    parts = [f"{what}: {', '.join(items)}" for what, items in (("added", added), ("removed", removed)) if items]
    return "; ".join(parts)


def _masked(people: list[str] | None) -> list[str]:
    return [masked_address(person.rpartition("<")[2].removesuffix(">")) for person in people or []]


def _reading(entity: str, name: str, zone: tzinfo | None) -> tuple[str, Callable[[Any], str]]:
    """What a value is called, and what puts it into words."""
    field = _fields(entity).get(name)
    if field is None:
        return capfirst(name.replace("_", " ")), _words
    label = capfirst(str(field.verbose_name))
    if isinstance(field, models.DateTimeField):
        return label, lambda value: _time(value, zone)
    choices = {str(value): str(words) for value, words in field.flatchoices}
    return label, lambda value: choices.get(str(value), "") or _words(value)


@cache
def _fields(entity: str) -> dict[str, models.Field[Any, Any]]:
    """The fields of the model that an event is about. None for a model of an older release."""
    for model in apps.get_models():
        if str(model._meta.verbose_name) == entity:
            return {field.name: field for field in model._meta.concrete_fields}
    return {}


def _time(value: object, zone: tzinfo | None) -> str:
    moment = parse_datetime(value) if isinstance(value, str) else None
    return f"{timezone.localtime(moment, zone):%Y-%m-%d %H:%M %Z}" if moment else _words(value)


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {item}" for name, item in value.items())
    return "" if value is None else str(value)
