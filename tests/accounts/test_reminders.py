"""Before something ends, the members who can act on it get one email."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.reminders.sending import Reminder
from organization.credentials import create_credential, revoke_credential
from organization.models import App, Member, Role, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import change_policy
from organization.recipient_policy.policy import RecipientPolicy
from outbox.models import Message
from portal.housekeeping import run_job
from testlists.services import ListChange, save_test_list
from tests.support.accounts import own_messages, text_of
from tests.support.outbox import set_list
from tests.support.portal import OPERATOR, configure, make_member

HOUR = timedelta(hours=1)
DAY = 24 * HOUR


@pytest.fixture
def mira(crm: App, portal_stage: Stage) -> Member:
    """Manages the email configurations of QA, in Lisbon."""
    role = Role.objects.create(name="QA mail", permissions=[Permission.MANAGE_EMAIL_CONFIGURATIONS.value])
    role.stages.add(portal_stage)
    return make_member("Mira", role, time_zone="Europe/Lisbon")


def activate(app: App, stage: Stage, until: datetime) -> None:
    set_list(app, stage, "ana@acme.example")
    people = [entry.person for entry in app.test_lists.get(stage=stage).present_entries()]
    save_test_list(app, stage, ListChange(True, False, [], people, active_until=until), OPERATOR)


def widen(app: App, stage: Stage, until: datetime) -> None:
    change_policy(stage, RecipientPolicy.LISTED_ONLY, OPERATOR)
    stage.refresh_from_db()
    change_policy(stage, RecipientPolicy.AS_APPS_ASK, OPERATOR, until=until, typed_stage_name=stage.name)


def give_credential(app: App, stage: Stage, until: datetime) -> None:
    create_credential(app, stage, OPERATOR, "web server", ends=until.astimezone(UTC).date())


def give_client_secret(app: App, stage: Stage, until: datetime) -> None:
    values = {"token_url": "https://login.example.com/token", "client_id": "portal", "scopes": "smtp"}
    oauth = {"authentication": "oauth2", "username": "portal", "new_secret": "a-secret", "security": "starttls", **values}
    configure(stage, **oauth, secret_ends=until.astimezone(UTC).date())


def remind() -> None:
    run_job("reminders")


def as_if_noticed_long_ago() -> None:
    Reminder.objects.update(noticed=timezone.now() - 30 * DAY)


@pytest.mark.parametrize(
    ("begin", "lead", "says", "who"),
    [
        (activate, DAY, ["The test list of Customer Relations in QA", "are held until", "/edit/"], ["Devon Dev", "Mira"]),
        (
            widen,
            DAY,
            ["The recipient policy “Real recipients” of QA", "“Lists and allowed only” again", "/recipients/"],
            ["Mira"],
        ),
        (give_client_secret, 7 * DAY, ["The client secret with which QA", "can't send"], ["Mira"]),
        (give_credential, 7 * DAY, ["The credential “web server”", "can't send with it"], ["Devon Dev", "Mira"]),
    ],
)
def test_who_can_act_is_reminded_once(
    crm: App, shop: App, portal_stage: Stage, developer: Member, viewer: Member, mira: Member,
    begin: Callable[[App, Stage, datetime], None], lead: timedelta, says: list[str], who: list[str],
) -> None:  # fmt: skip
    begin(crm, portal_stage, timezone.now() + lead + 3 * DAY)
    remind()
    as_if_noticed_long_ago()
    remind()
    assert not Message.objects.exists()  # it isn't time yet
    Reminder.objects.all().delete()

    begin(crm, portal_stage, timezone.now() + lead / 2)
    remind()
    as_if_noticed_long_ago()
    remind()
    remind()
    texts = {member.name: text_of(message) for member in Member.objects.all() for message in own_messages(member)}
    assert sorted(texts) == who
    assert Message.objects.count() == len(who)
    assert [words for words in says if words not in texts["Mira"]] == []
    assert "(Europe/Lisbon)" in texts["Mira"]


def test_what_lasts_for_hours_is_reminded_of_half_way(crm: App, portal_stage: Stage, mira: Member) -> None:
    activate(crm, portal_stage, timezone.now() + 2 * HOUR)
    remind()
    assert not Message.objects.exists()
    Reminder.objects.update(noticed=timezone.now() - 3 * HOUR)
    remind()
    assert len(own_messages(mira)) == 1


def test_another_end_is_another_reminder_and_none_is_none(crm: App, portal_stage: Stage, mira: Member) -> None:
    for hours in (20, 21):
        activate(crm, portal_stage, timezone.now() + hours * HOUR)
        remind()
        as_if_noticed_long_ago()
        remind()
    assert len(own_messages(mira)) == 2
    credential = create_credential(crm, portal_stage, OPERATOR, ends=(timezone.now() + DAY).date()).credential
    revoke_credential(credential, OPERATOR)
    set_list(crm, portal_stage, "ana@acme.example")  # without an end
    remind()
    assert Message.objects.count() == 2


def test_without_a_stage_for_it_nobody_is_reminded(crm: App, portal_stage: Stage, mira: Member, settings: Settings) -> None:
    settings.PORTAL_STAGE = ""
    activate(crm, portal_stage, timezone.now() + 2 * HOUR)
    remind()
    assert not Reminder.objects.exists()
