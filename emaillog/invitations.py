"""Read what an invitation says (iCalendar, RFC 5545): what, when, where and who. Pure.

Hostile text gives fewer details, but never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from django.utils.dateformat import format as date_format
from django.utils.dateparse import parse_duration

ATTENDEES_AT_MOST = 100
_TEXT_AT_MOST = 500
_LONGEST = timedelta(days=1000)
_FOLD = re.compile(r"\r?\n[ \t]")
_LINE = re.compile(r'((?:[^":]++|"[^"]*+")*+):(.*)')
_PARAMETER = re.compile(r';([A-Za-z-]+)=("[^"]*"|[^";]*)')
_ESCAPED = re.compile(r"\\(.)")
# Control characters, characters that reverse the direction of text, and halves of characters.
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_TIME = re.compile(r"(?:19|20|21)\d{6}(?:T\d{6}Z?)?", re.ASCII)  # far from the ends of the calendar, where time zones fail
_KINDS = {"REQUEST": "Invitation", "CANCEL": "Cancellation", "REPLY": "Answer to an invitation", "COUNTER": "Counter-proposal"}
_ANSWERS = {"ACCEPTED": "Accepted", "DECLINED": "Declined", "TENTATIVE": "Tentative", "DELEGATED": "Delegated"}


@dataclass(frozen=True)
class CalendarTime:
    """A moment. If its time zone isn't known, the words of the invitation instead."""

    moment: datetime | None = None
    words: str = ""


@dataclass(frozen=True)
class Person:
    address: str
    name: str = ""
    answer: str = ""


@dataclass(frozen=True)
class Invitation:
    kind: str
    summary: str
    start: CalendarTime
    end: CalendarTime
    place: str
    repeats: bool
    organizer: Person | None
    attendees: tuple[Person, ...]
    more_attendees: int  # the number of attendees that are left out above


class _Property(NamedTuple):
    name: str
    parameters: dict[str, str]
    value: str


def read_invitations(calendar: str) -> Iterator[Invitation]:
    """Yield the events of a calendar in their order. Each is read only when it is needed."""
    kind, components, event = "Event", list[str](), list[_Property]()
    for line in _properties(calendar):
        if line.name == "BEGIN":
            components.append(line.value.upper())
        elif line.name == "END" and components:
            if components.pop() == "VEVENT":
                yield _invitation(kind, event)
                event = []
        elif line.name == "METHOD":
            kind = _KINDS.get(line.value.upper(), kind)
        elif components[-1:] == ["VEVENT"]:  # not a property of an alarm within it
            event.append(line)
    if event:  # cut off
        yield _invitation(kind, event)


def _properties(calendar: str) -> Iterator[_Property]:
    for line in _FOLD.sub("", calendar).splitlines():
        if match := _LINE.match(line):
            parameters = {name.upper(): value.strip('"') for name, value in _PARAMETER.findall(match[1])}
            yield _Property(match[1].partition(";")[0].upper(), parameters, match[2].strip())


def _invitation(kind: str, event: list[_Property]) -> Invitation:
    single: dict[str, _Property] = {}
    for line in event:
        single.setdefault(line.name, line)
    attendees = [line for line in event if line.name == "ATTENDEE"]
    start = single.get("DTSTART")
    return Invitation(
        kind=kind,
        summary=_text(single.get("SUMMARY")),
        start=_time(start),
        end=_end(start, single.get("DTEND"), single.get("DURATION")),
        place=_text(single.get("LOCATION")),
        repeats="RRULE" in single,
        organizer=_person(single["ORGANIZER"]) if "ORGANIZER" in single else None,
        attendees=tuple(map(_person, islice(attendees, ATTENDEES_AT_MOST))),
        more_attendees=max(0, len(attendees) - ATTENDEES_AT_MOST),
    )


def _text(line: _Property | None) -> str:
    return _shown(_ESCAPED.sub(lambda match: " " if match[1] in "nN" else match[1], line.value)) if line else ""


def _shown(text: str) -> str:
    text = " ".join(_NOT_SHOWN.sub(" ", text).split())
    return text if len(text) <= _TEXT_AT_MOST else f"{text[:_TEXT_AT_MOST]}…"


def _person(line: _Property) -> Person:
    scheme, _, address = line.value.partition(":")
    address = unquote(address) if scheme.lower() == "mailto" else line.value
    answer = _ANSWERS.get(line.parameters.get("PARTSTAT", "").upper(), "")
    return Person(_shown(address), _shown(line.parameters.get("CN", "")), answer)


def _time(line: _Property | None) -> CalendarTime:
    return CalendarTime() if line is None else _calendar_time(_parsed(line), line)


def _end(start: _Property | None, end: _Property | None, duration: _Property | None) -> CalendarTime:
    """Return the event's end. Empty if the event has none."""
    line = end or start
    first, last = start and _parsed(start), end and _parsed(end)
    if end is None and first is not None and duration is not None:
        last = first + _duration(duration.value)
    if type(first) is date and type(last) is date:
        last = max(first, last - timedelta(days=1))  # calendars name the day after the last one
    return CalendarTime() if line is None or last is None or last == first else _calendar_time(last, line)


def _parsed(line: _Property) -> datetime | date | None:
    """Return a time, or a date for a whole day. The time has no zone if its zone isn't known here."""
    if not _TIME.fullmatch(line.value):
        return None
    try:
        if "T" not in line.value:
            return date.fromisoformat(line.value)
        time = datetime.fromisoformat(line.value)
        return time if time.tzinfo or "TZID" not in line.parameters else time.replace(tzinfo=_zone(line.parameters["TZID"]))
    except ValueError:
        return None


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):  # the name may be anything, even the name of a folder
        return None


def _duration(text: str) -> timedelta:
    try:
        duration = parse_duration(text)
    except (ValueError, OverflowError):
        return timedelta()
    return duration if duration and timedelta() < duration <= _LONGEST else timedelta()


def _calendar_time(time: datetime | date | None, line: _Property) -> CalendarTime:
    if time is None:
        return CalendarTime(words=_shown(line.value))
    if not isinstance(time, datetime):
        return CalendarTime(words=f"{date_format(time, 'M j, Y')}, all day")
    if time.tzinfo:
        return CalendarTime(moment=time)
    zone = _shown(line.parameters.get("TZID", "")) or "local time"
    return CalendarTime(words=f"{date_format(time, 'M j, Y, H:i')} ({zone})")
