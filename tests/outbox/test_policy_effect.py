"""What a recipient policy would have done to the last emails: the numbers are route()'s, over what a member may see."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from organization.models import App, Role, Stage
from organization.permissions import Permission
from organization.recipient_policy.changes import allow
from outbox import policy_effect
from outbox.models import Message
from tests.support.outbox import send, set_list
from tests.support.portal import OPERATOR, configure, make_member, signed_in

PAGE = "/management/configure/emails/qa/recipients/effect/"


@pytest.fixture
def last_days(crm: App, shop: App, qa: Stage) -> Stage:
    """The shop has an Active list, the CRM has none; Ana is allowed. One email is from before yesterday."""
    configure(qa)
    set_list(shop, qa, "tess@acme.example")
    allow(qa, ["ana@acme.example"], OPERATOR, typed_stage_name="QA")
    old = send(crm, qa, "old@example.com")
    Message.objects.filter(pk=old.pk).update(created=timezone.now() - timedelta(days=5))
    send(crm, qa, "one@example.com", "two@example.com")
    send(crm, qa, "one@EXAMPLE.com", "ana@acme.example")
    send(crm, qa, "ana@acme.example")
    send(shop, qa, "three@example.com")
    return qa


def effect(client: Client, policy: str, since: str = "yesterday") -> dict[str, Any]:
    shown = client.get(PAGE, {"policy": policy, "since": since}).context["effect"]
    names = ("emails", "to_lists", "to_allowed", "to_recipients", "captured", "outside")
    return {name: getattr(shown, name) for name in names if getattr(shown, name)}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("listed-only", {"emails": 4, "to_lists": 1, "to_allowed": 2, "captured": 2, "outside": 2}),
        ("nobody", {"emails": 4, "captured": 4, "outside": 3}),
        ("as-apps-ask", {"emails": 4, "to_lists": 1, "to_recipients": 3, "outside": 2}),
    ],
)
def test_what_a_policy_would_have_done(as_administrator: Client, last_days: Stage, policy: str, expected: dict[str, int]):
    assert effect(as_administrator, policy) == expected
    stored = Stage.objects.get(pk=last_days.pk)
    assert stored.recipient_policy == "as-apps-ask"


def test_older_emails_count_when_they_are_asked_for(as_administrator: Client, last_days: Stage):
    assert effect(as_administrator, "listed-only", "7d")["emails"] == 5


def test_only_the_emails_of_apps_whose_log_the_member_reads_count(as_developer: Client, as_viewer: Client, last_days: Stage):
    assert effect(as_developer, "listed-only")["emails"] == 3
    page = as_developer.get(PAGE, {"policy": "listed-only", "since": "7d"}).content.decode()
    assert "Only apps whose log you may read" in page
    assert "example.com" not in page.partition("What would have happened")[2]
    role = Role.objects.create(name="Email", permissions=[Permission.MANAGE_EMAIL_CONFIGURATIONS.value])
    assert signed_in(make_member("Em", role)).get(PAGE).status_code == 403


def test_it_says_when_there_are_more_emails_than_it_reads(as_administrator: Client, last_days: Stage, monkeypatch):
    monkeypatch.setattr(policy_effect, "READ_AT_MOST", 2)
    page = as_administrator.get(PAGE, {"policy": "nobody", "since": "30d"})
    assert page.context["effect"].emails == 2
    assert "Only the newest" in page.content.decode()


@pytest.mark.parametrize("values", [{"policy": "everybody", "since": "7d"}, {"policy": "nobody", "since": "1y"}, {"since": "7d"}])
def test_what_cannot_be_asked_is_said_at_its_field(as_administrator: Client, qa: Stage, values: dict[str, str]):
    page = as_administrator.get(PAGE, values)
    assert page.status_code == 422
    assert page.context["form"].errors


def test_it_is_only_read(as_administrator: Client, qa: Stage):
    assert as_administrator.post(PAGE).status_code == 405
    assert as_administrator.get(PAGE.replace("qa", "none")).status_code == 404


def test_the_number_of_queries_doesnt_grow_with_the_emails(as_administrator: Client, crm: App, last_days: Stage):
    def ask() -> int:
        with CaptureQueriesContext(connection) as queries:
            as_administrator.get(PAGE, {"policy": "nobody", "since": "7d"})
        return len(queries)

    before = ask()
    for number in range(5):
        send(crm, last_days, f"customer{number}@example.com")
    assert ask() == before
