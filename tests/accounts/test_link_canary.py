"""A live link is in the email to its member, or on the page of its maker, and in nothing else that the portal keeps or writes."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.test import Client
from pytest_django import Settings

from accounts.invitations.services import invite
from organization.models import Member, Stage
from outbox.models import Content, Message
from portal.housekeeping import run_job
from tests.support.accounts import emailed_path, log_lines, path_in
from tests.support.pages import words
from tests.support.portal import OPERATOR

PEOPLE = "/management/govern/members/"


def token_of(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def stored() -> Iterator[tuple[str, str]]:
    """All rows of all tables, sessions and the audit trail among them, but the contents of emails that wait to be sent."""
    for model in apps.get_models(include_auto_created=True):
        if model is not Content:
            yield model._meta.label, str(list(model._base_manager.values()))


def test_a_live_link_is_nowhere_else(
    portal_stage: Stage, as_administrator: Client, viewer: Member, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ivo = invite(Member(email="ivo@acme.example", name="Ivo"), OPERATOR).member
    Client().post("/accounts/password-reset/", {"email": viewer.email})
    run_job("own-mail")
    settings.PORTAL_STAGE = ""
    shown = path_in(words(as_administrator.post(PEOPLE + "new/", {"email": "una@acme.example", "name": "Una"})))
    paths = [emailed_path(ivo), emailed_path(viewer), shown]
    for path in paths:
        visitor = Client()
        assert visitor.get(path).status_code == 200
        assert visitor.get(path.rstrip("/")).status_code == 301
        assert visitor.post(path, {"new_password1": "a", "new_password2": "b"}).status_code == 422
        assert visitor.get("/admin/login/", {"next": path}).status_code == 302
        for library in ("django.request", "django.server", "gunicorn.error"):
            logging.getLogger(library).error("“GET %s HTTP/1.1” Internal Server Error", path)

    tokens = [token_of(path) for path in paths]
    for place, text in [*stored(), ("log", log_lines(caplog)), *read(as_administrator)]:
        assert [token for token in tokens if token in text] == [], place
    assert "/accounts/invitation/***" in log_lines(caplog)
    assert all(Client().get(path).status_code == 200 for path in paths)


def read(client: Client) -> Iterator[tuple[str, str]]:
    """The pages and exports that show emails, members and their links."""
    numbers = list(Message.objects.values_list("pk", flat=True))
    pages = [
        *("/", PEOPLE, "/management/view/audit-trail/", "/management/view/audit-trail/export/"),
        *("/monitor/email-log/", "/monitor/email-log/qa/?q=choose", "/monitor/emails/export/", "/admin/accounts/accountlink/"),
        *(f"/monitor/email-log/qa/{number}/?show={tab}" for number in numbers for tab in ("text", "source")),
        *(f"/monitor/email-log/qa/{number}/source/" for number in numbers),
        *(f"/admin/outbox/content/{number}/change/" for number in numbers),
        *(f"{PEOPLE}{pk}/{below}" for pk in Member.objects.values_list("pk", flat=True) for below in ("", "link/")),
    ]
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 404 if page.endswith("/source/") else 200, page
        yield page, (b"".join(answer) if answer.streaming else answer.content).decode()  # type: ignore[attr-defined]
