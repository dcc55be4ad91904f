"""Describe what a test list does to the app's mail of the last 24 hours.

The outbox, which stores the messages, counts them (signals.count_recent).
"""

from __future__ import annotations

from typing import cast

from testlists.models import TestList
from testlists.signals import RecentMail, count_recent


def recent_mail_in_words(test_list: TestList) -> str:
    """One or two sentences, or "" if no room stores messages."""
    answers = cast(list[tuple[object, RecentMail]], count_recent.send(TestList, test_list=test_list))
    return " ".join(_sentences(test_list, recent) + _warning(recent) for _, recent in answers)


def _sentences(test_list: TestList, recent: RecentMail) -> str:
    since = "In the last 24 hours"
    if not recent.caught and not recent.others and not recent.held:
        rest = "sent no emails" if recent.complete else "sent none of the stage's newest emails"
        return f"{since} {test_list.app} {rest} in {test_list.stage}."
    are_held = "is held and hasn't" if recent.held == 1 else "are held and haven't"
    held = f"{_mails(recent.held, recent)} of the last 24 hours {are_held} been sent."
    if not recent.caught and not recent.others:
        return held
    return f"{_moved(test_list, recent, since)} {held}" if recent.held else _moved(test_list, recent, since)


def _moved(test_list: TestList, recent: RecentMail, since: str) -> str:
    if test_list.active:
        caught = f"{since} the list caught {_mails(recent.caught, recent)}."
        return f"{caught} {_not_caught(recent)}." if recent.others else caught
    if not recent.others:
        return f"{since} the list caught {_mails(recent.caught, recent)}, before it was turned off."
    missed = f"{since} {_not_caught(recent)}, because the list wasn't Active."
    return f"{missed} It caught {_mails(recent.caught, recent)}, before it was turned off." if recent.caught else missed


def _warning(recent: RecentMail) -> str:
    """A warning about invitations, because a list doesn't change the body of an email."""
    if not recent.invitations:
        return ""
    they_are = "One is an invitation" if recent.invitations == 1 else f"{recent.invitations:,} are invitations"
    return f" {they_are}: the attendees stay in the body, so a tester who replies may write to real people."


def _not_caught(recent: RecentMail) -> str:
    people = f"{recent.recipients:,}{' or more' if recent.recipients >= RecentMail.AT_MOST else ''}"
    were = "was" if recent.others == 1 and recent.complete else "were"
    return (
        f"{_mails(recent.others, recent)} {were} sent to {people} real {'recipient' if recent.recipients == 1 else 'recipients'}"
    )


def _mails(count: int, recent: RecentMail) -> str:
    if not count:
        return "no emails"
    if not recent.complete:
        return f"{count:,} or more emails"
    return "1 email" if count == 1 else f"{count:,} emails"
