"""“Where would this email go?”: what it says is what delivery does."""

from __future__ import annotations

import pytest
from django.test import Client

from organization.recipient_policy.changes import allow
from outbox.models import Message
from tests.support.outbox import deliver, send, set_list
from tests.support.portal import OPERATOR, configure, mail

PAGE = "/apps/crm/configuration/emails/qa/route/"


def ask(client: Client, **values: str):
    return client.get(PAGE, {"to": "customer@example.com", **values})


def test_every_member_may_ask_and_nobody_else(as_viewer, crm, qa):
    assert as_viewer.get(PAGE).status_code == 200
    assert Client().get(PAGE).status_code == 302
    assert as_viewer.post(PAGE, {"to": "a@example.com"}).status_code == 405


@pytest.mark.parametrize("path", ["/apps/none/configuration/emails/qa/route/", "/apps/crm/configuration/emails/none/route/"])
def test_an_app_or_stage_that_is_not_there(as_viewer, crm, qa, path):
    assert as_viewer.get(path).status_code == 404


def test_an_inactive_list_lets_the_mail_through(as_viewer, crm, qa):
    page = ask(as_viewer, cc="Boss <boss@example.com>", bcc="x@example.com, y@example.com")
    assert [decision.requested for decision in page.context["route"].decisions] == [
        "customer@example.com",
        "boss@example.com",
        "x@example.com",
        "y@example.com",
    ]
    assert "real people" in page.content.decode()


def test_an_active_list_takes_every_place(as_viewer, crm, qa):
    set_list(crm, qa, "tess@acme.example", active=True)
    page = ask(as_viewer, cc="boss@example.com")
    assert {decision.delivered_to for decision in page.context["route"].decisions} == {("tess@acme.example",)}


def test_what_if_it_were_active_before_it_is(as_viewer, crm, qa):
    set_list(crm, qa, "tess@acme.example", active=False)
    assert ask(as_viewer).context["route"].decisions[0].delivered_to == ("customer@example.com",)
    assert ask(as_viewer, as_if="active").context["route"].decisions[0].delivered_to == ("tess@acme.example",)


def test_what_if_it_were_inactive(as_viewer, crm, qa):
    set_list(crm, qa, "tess@acme.example", active=True)
    assert ask(as_viewer, as_if="inactive").context["route"].decisions[0].delivered_to == ("customer@example.com",)


def test_an_empty_list_would_hold_the_mail(as_viewer, crm, qa):
    assert "would be held" in ask(as_viewer, as_if="active").content.decode()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("to", "", "required"),
        ("to", "nobody", "nobody"),
        ("cc", "a@example.com, b@", "b@"),
        ("as_if", "nonsense", "not one of the available choices"),
        ("to", ",".join(f"a{n}@example.com" for n in range(1001)), "at most 1,000"),
    ],
)
def test_what_cannot_be_asked_is_said_at_its_field(as_viewer, crm, qa, field, value, says):
    page = ask(as_viewer, **{field: value})
    assert page.status_code == 422
    assert says in str(page.context["form"].errors[field])


def test_asking_sends_and_stores_nothing(as_viewer, crm, qa):
    ask(as_viewer)
    assert not Message.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("active", [True, False])
def test_it_says_what_delivery_does(as_viewer, crm, qa, smtp_server, active):
    configure(qa, smtp_server, from_domains="*")
    set_list(crm, qa, "tess@acme.example", active=active)
    route = ask(as_viewer).context["route"]
    send(crm, qa, content=mail())
    deliver()
    assert smtp_server.recipients == {person.email for person in route.people}


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        ({"policy": "nobody", "as_if": "active"}, "captured", "No one: the email would be captured."),
        ({"policy": "listed-only"}, "captured", "No one: the email would be captured."),
        ({"policy": "listed-only", "cc": "ana@acme.example"}, "allowed", "copies would be captured"),
        ({"policy": "listed-only", "to": "ana@acme.example"}, "allowed", "all of them are allowed"),
        ({"as_if": "expired"}, "test_list", "has expired"),
        ({"as_if": "expired", "policy": "listed-only"}, "captured", "No one"),
    ],
)
def test_what_if_policy_or_list_were_otherwise(as_viewer, crm, qa, values, kind, says):
    allow(qa, ["ana@acme.example"], OPERATOR, typed_stage_name="QA")
    set_list(crm, qa, "tess@acme.example", active=False)
    page = ask(as_viewer, **values)
    assert page.context["route"].kind == kind
    assert says in page.content.decode()
