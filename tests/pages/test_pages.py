"""The frame around all pages: navigation, links that lead somewhere, error pages, and what every answer carries."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from organization.models import App, Member, RoleGrant, Stage
from outbox.models import Message, Source
from outbox.submission import Envelope, submit
from tests.support.portal import configure, mail, make_app, make_member, make_stage, signed_in
from tests.support.testlists import keep_list

pytestmark = pytest.mark.same_on_both

OURS = ("organization", "emailconfig", "testlists", "outbox", "delivery", "gateway", "analytics")


class Links(HTMLParser):
    def __init__(self, base: str) -> None:
        super().__init__()
        self.base, self.found = base, set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("href", "src", "hx-get"):
                self.found.add(urldefrag(urljoin(f"http://testserver{self.base}", value)).url)


def walk(client: Client, start: str = "/") -> dict[str, int]:
    """Follow every internal link by GET. Django admin's sorting and filtering links count as the page they sort."""
    statuses: dict[str, int] = {}
    todo = {start}
    while todo:
        path = todo.pop()
        if path in statuses:
            continue
        if path.startswith("/static/"):
            statuses[path] = 200 if finders.find(path.removeprefix("/static/")) else 404
            continue
        answer = client.get(path)
        statuses[path] = answer.status_code
        if answer.status_code in (301, 302):
            todo.add(urljoin(path, answer["Location"]))
        elif answer.status_code == 200 and answer["Content-Type"].startswith("text/html"):
            links = Links(path)
            links.feed(answer.content.decode())
            for link in map(urlsplit, links.found):
                if link.netloc == "testserver" and not link.path.startswith("/admin/jsi18n"):
                    query = f"?{link.query}" if link.query and not link.path.startswith("/admin/") else ""
                    todo.add(link.path + query)
    return statuses


@pytest.mark.slow
def test_no_link_is_dead_for_the_administrator(everything: Member) -> None:
    statuses = walk(signed_in(everything))
    assert {path: code for path, code in statuses.items() if code not in (200, 204, 302)} == {}
    for page in (
        "/apps/new/",
        "/apps/crm/edit/",
        "/apps/crm/configuration/emails/qa/edit/",
        "/management/configure/emails/qa/edit/",
        "/management/configure/emails/production/edit/",
        f"/monitor/email-log/qa/{Message.objects.earliest('pk').pk}/",
        "/accounts/profile/",
        "/accounts/password/",
        "/admin/emailconfig/smtpsettings/",
    ):
        assert statuses[page] == 200, page


@pytest.mark.slow
@pytest.mark.parametrize("who", ["developer", "viewer", "nobody in particular"])
def test_no_page_shows_a_link_to_what_the_member_may_not_open(everything: Member, who: str) -> None:
    member = Member.objects.filter(name__startswith={"developer": "Devon", "viewer": "Vera"}.get(who, "-")).first()
    statuses = walk(signed_in(member or make_member("Mia")))
    assert {path: code for path, code in statuses.items() if code not in (200, 204, 302)} == {}
    assert not [path for path in statuses if path.startswith("/admin/")]
    assert "/management/configure/emails/qa/edit/" not in statuses


@pytest.mark.parametrize(
    ("who", "sees_log", "sees_admin"),
    [("administrator", True, True), ("developer", True, False), ("viewer", True, False), ("mia", False, False)],
)
def test_the_navigation_shows_what_the_member_may_see(everything: Member, who: str, sees_log: bool, sees_admin: bool) -> None:
    names = {"administrator": "Ada Admin", "developer": "Devon Dev", "viewer": "Vera Viewer"}
    client = signed_in(Member.objects.filter(name=names.get(who)).first() or make_member("Mia"))
    main, management = (client.get(path).content.decode() for path in ("/apps/", "/management/configure/emails/"))
    assert ('href="/monitor/email-log/"' in main) is sees_log
    assert ('href="/monitor/analytics/"' in main) is sees_log
    assert ('href="/admin/"' in management) is sees_admin
    assert 'href="/management/configure/emails/"' in main
    assert 'href="/apps/"' in management


def test_the_page_one_is_on_is_marked(everything: Member) -> None:
    client = signed_in(everything)
    for path, label in (
        ("/", "Home"),
        ("/apps/crm/edit/", "Apps"),
        ("/monitor/analytics/qa/", "Analytics"),
        ("/monitor/email-log/qa/", "Email log"),
        ("/management/configure/emails/qa/", "Emails"),
    ):
        current = re.findall(
            r'class="sidebar__link"[^>]*aria-current="page"[^>]*>(.*?)</a>', client.get(path).content.decode(), re.S
        )
        assert [re.sub(r"<.*?>", "", text, flags=re.S).strip() for text in current] == [label]


def test_everything_the_portal_keeps_is_in_django_admin(db: None) -> None:
    models = {model for label in OURS for model in apps.get_app_config(label).get_models()}
    assert {model.__name__ for model in models if model not in admin.site._registry} == {"TestListAddress"}  # on its list's page


def test_admin_is_for_staff(as_viewer: Client) -> None:
    assert as_viewer.get("/admin/")["Location"].startswith("/admin/login/")


def test_grants_and_members_are_deleted_or_removed_only_as_the_portal_wants(everything: Member) -> None:
    client = signed_in(everything)
    grant = RoleGrant.objects.get(member__name="Devon Dev")
    client.post(f"/admin/organization/rolegrant/{grant.pk}/delete/", {"post": "yes"})
    assert not RoleGrant.objects.filter(pk=grant.pk).exists()
    for model in ("member", "app", "stage"):
        assert client.post(f"/admin/organization/{model}/1/delete/", {"post": "yes"}).status_code == 403


def test_the_start_page_is_home_for_members(as_viewer: Client, client: Client) -> None:
    assert as_viewer.get("/").status_code == 200
    assert client.get("/", follow=True).redirect_chain[-1][0].startswith("/accounts/login/")


@pytest.mark.parametrize("path", ["/nothing/", "/.git/HEAD", "/static/../manage.py"])
def test_what_is_not_there_is_told_on_a_page(client: Client, as_viewer: Client, path: str) -> None:
    for who in (client, as_viewer):
        answer = who.get(path)
        assert answer.status_code == 404
        assert "There is no such page" in answer.content.decode()


def test_what_one_may_not_do_is_told_with_the_permission_it_needs(as_viewer: Client, qa: Stage) -> None:
    answer = as_viewer.get("/management/configure/emails/qa/edit/")
    assert answer.status_code == 403
    page = answer.content.decode()
    assert "You may not do this" in page
    assert "You need the permission “Manage Email Configurations” for this." in page


def test_an_error_of_ours_is_told_without_its_inside(as_viewer: Client, db: None) -> None:
    def down(*_: object) -> None:
        raise RuntimeError("inside story")

    from django.db import connection

    as_viewer.raise_request_exception = False
    with connection.execute_wrapper(down):
        answer = as_viewer.get("/apps/")
    assert answer.status_code == 500
    assert "Something went wrong here" in answer.content.decode()
    assert "inside story" not in answer.content.decode()


def test_too_much_at_once_is_answered_400_on_a_page(as_administrator: Client, qa: Stage, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = as_administrator.post("/management/configure/emails/qa/edit/", {"server": "x" * 2000})
    assert answer.status_code == 400
    assert "This request wasn" in answer.content.decode()


@pytest.mark.parametrize("path", ["/apps/", "/accounts/login/", "/nothing/", "/admin/login/"])
def test_every_answer_carries_the_content_security_policy(client: Client, db: None, path: str) -> None:
    policy = client.get(path)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.slow
def test_pages_hold_no_script_or_style_that_the_policy_would_refuse(everything: Member) -> None:
    client = signed_in(everything)
    pages = [path for path, code in walk(client).items() if code == 200 and not path.startswith(("/admin/", "/static/"))]
    assert len(pages) > 15
    for path in pages:
        answer = client.get(path)
        if answer["Content-Type"].startswith("text/html") and not path.endswith("/html/"):
            page = answer.content.decode()
            assert not re.search(r"<script(?![^>]*\bsrc=)", page), path
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page), path


@pytest.mark.slow
def test_no_page_asks_the_database_more_often_when_there_is_more_of_everything(
    as_administrator: Client, as_developer: Client, crm: App, qa: Stage
) -> None:
    """Of a member who may do everything, and of one with a role for one app."""

    def grow(first: int, last: int) -> None:
        for number in range(first, last):
            stage = make_stage(f"stage-{number}", f"Stage {number}")
            app = make_app(f"app-{number}", f"App {number}")
            configure(stage)
            keep_list(app, qa, "ana@acme.example")
            for place in ((crm, qa), (app, qa), (crm, stage)):
                submit(*place, Envelope("crm@acme.example", ["c@example.com"]), mail(), via=Source.COMMAND)
        Message.objects.filter(stage__key="stage-0").update(status="held", hold_reason="test_list_empty")

    def queries(client: Client, *paths: str) -> dict[str, int]:
        counted = {}
        for path in paths:
            client.get(path)
            with CaptureQueriesContext(connection) as captured:
                assert client.get(path).status_code == 200
            counted[path] = len(captured)
        return counted

    configure(qa)
    grow(0, 2)
    number = Message.objects.filter(app=crm, stage=qa).latest("pk").pk
    pages = [
        "/",
        "/apps/",
        "/apps/?q=app",
        "/apps/crm/configuration/emails/qa/",
        "/management/configure/emails/",
        "/management/configure/emails/qa/",
        "/monitor/email-log/qa/",
        f"/monitor/email-log/qa/{number}/",
        "/monitor/analytics/",
        "/monitor/analytics/qa/",
    ]
    stages = "/management/configure/stages/"
    few = queries(as_administrator, *pages, stages), queries(as_developer, *pages)
    grow(2, 12)
    assert (queries(as_administrator, *pages, stages), queries(as_developer, *pages)) == few
