"""What an invitation says: what, when, where and who."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from emaillog.invitations import ATTENDEES_AT_MOST, CalendarTime, Invitation, Person, read_invitations

BERLIN = ZoneInfo("Europe/Berlin")


def calendar(*lines: str, method: str = "REQUEST") -> str:
    body = "\r\n".join(lines)
    return f"BEGIN:VCALENDAR\r\nMETHOD:{method}\r\nBEGIN:VEVENT\r\n{body}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"


def read(*lines: str, method: str = "REQUEST") -> Invitation:
    (invitation,) = read_invitations(calendar(*lines, method=method))
    return invitation


def test_an_invitation_says_what_when_where_and_who():
    invitation = read(
        "UID:1@acme.example",
        "DTSTART:20261201T100000Z",
        "DTEND;TZID=Europe/Berlin:20261201T120000",
        "SUMMARY;LANGUAGE=en:Meet\\, greet\\nand lea",
        " rn",
        "LOCATION:Room 5\\; upstairs",
        'ORGANIZER;CN="Agent, Carla":mailto:carla.agent@acme.example',
        "ATTENDEE;RSVP=TRUE;PARTSTAT=ACCEPTED:MAILTO:karl.kunde@customer.example",
        "ATTENDEE;CN=Room:urn:uuid:5",
        "RRULE:FREQ=WEEKLY",
        "BEGIN:VALARM",
        "SUMMARY:Alarm",
        "ATTENDEE:mailto:alarm@acme.example",
        "END:VALARM",
    )
    assert (invitation.kind, invitation.summary, invitation.place) == ("Invitation", "Meet, greet and learn", "Room 5; upstairs")
    assert invitation.start == CalendarTime(datetime(2026, 12, 1, 10, tzinfo=ZoneInfo("UTC")))
    assert invitation.end == CalendarTime(datetime(2026, 12, 1, 12, tzinfo=BERLIN))
    assert invitation.organizer == Person("carla.agent@acme.example", "Agent, Carla")
    assert invitation.attendees == (Person("karl.kunde@customer.example", "", "Accepted"), Person("urn:uuid:5", "Room"))
    assert invitation.repeats


@pytest.mark.parametrize(
    ("method", "kind"), [("cancel", "Cancellation"), ("REPLY", "Answer to an invitation"), ("PUBLISH", "Event"), ("", "Event")]
)
def test_the_method_says_what_kind_it_is(method, kind):
    assert read("SUMMARY:x", method=method).kind == kind


@pytest.mark.parametrize(
    ("lines", "start", "end"),
    [
        (["DTSTART;VALUE=DATE:20261201", "DTEND;VALUE=DATE:20261202"], "Dec 1, 2026, all day", ""),
        (["DTSTART;VALUE=DATE:20261201", "DTEND;VALUE=DATE:20261204"], "Dec 1, 2026, all day", "Dec 3, 2026, all day"),
        (["DTSTART:20261201", "DTEND:20261201T120000"], "Dec 1, 2026, all day", "Dec 1, 2026, 12:00 (local time)"),
        (["DTSTART:20261201T100000", "DTEND:20261202"], "Dec 1, 2026, 10:00 (local time)", "Dec 2, 2026, all day"),
        (["DTSTART;TZID=W. Europe Standard Time:20261201T100000"], "Dec 1, 2026, 10:00 (W. Europe Standard Time)", ""),
        (["DTSTART:20261201T100000", "DURATION:PT1H30M"], "Dec 1, 2026, 10:00 (local time)", "Dec 1, 2026, 11:30 (local time)"),
        (["DTSTART:20261201T100000", "DURATION:P99999999999999999D"], "Dec 1, 2026, 10:00 (local time)", ""),
        (["DTSTART;TZID=../../etc/passwd:20261201T100000"], "Dec 1, 2026, 10:00 (../../etc/passwd)", ""),
        (["DTSTART;TZID=Europe:20261201T100000"], "Dec 1, 2026, 10:00 (Europe)", ""),
        (["DTSTART:00010101T000000Z", "DTEND:99991231T235959Z"], "00010101T000000Z", ""),
        (["DTSTART:20261350T990000Z"], "20261350T990000Z", ""),
        (["DTSTART:soon\u202e"], "soon", ""),
        ([], "", ""),
    ],
)
def test_times_that_no_clock_here_knows_are_told_in_the_words_of_the_invitation(lines, start, end):
    invitation = read(*lines)
    assert (invitation.start, invitation.end) == (CalendarTime(words=start), CalendarTime(words=end))


def test_an_invitation_that_is_cut_off_is_read_as_far_as_it_goes():
    assert [invitation.summary for invitation in read_invitations("BEGIN:VEVENT\nSUMMARY:x\nLOCATION:R")] == ["x"]
    assert list(read_invitations("no calendar\nEND:VEVENT\nSUMMARY:x")) == []


def test_of_many_attendees_the_first_are_listed():
    invitation = read(*[f"ATTENDEE:mailto:{number}@customer.example" for number in range(ATTENDEES_AT_MOST + 5)])
    assert (len(invitation.attendees), invitation.more_attendees) == (ATTENDEES_AT_MOST, 5)
