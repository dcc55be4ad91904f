from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from organization.exceptions import STALE, StaleVersion
from organization.models import App, AuditEvent, Member, Stage
from organization.services import save_app, save_in_organization
from tests.support.portal import OPERATOR

STAGE = {"order": 1, "kind": "production", "version": 0}
NEW = {"name": "Payroll", "key": "payroll", "description": "Pay slips", "colour": "teal", "version": 0}


def test_apps_are_found_by_a_part_of_name_or_key(as_viewer: Client, crm: App, shop: App) -> None:
    App.objects.create(key="old", name="Old shop", archived=True)
    for query, found in (("", ["crm", "shop"]), ("CUST", ["crm"]), ("shop", ["shop"]), ("nothing", []), ("%", []), ("_", [])):
        assert [app.key for app in as_viewer.get("/apps/", {"q": query}).context["apps"]] == found


@pytest.mark.parametrize("query", ["\0", "x" * 5000, "'\"<script>", "\u202e"])
def test_a_search_for_rubbish_finds_nothing_and_breaks_nothing(as_viewer: Client, crm: App, query: str) -> None:
    answer = as_viewer.get("/apps/", {"q": query})
    assert answer.status_code == 200
    assert "<script>'" not in answer.content.decode()


def test_a_member_who_may_not_create_apps_sees_no_button_for_it(as_administrator: Client, as_viewer: Client, crm: App) -> None:
    assert "/apps/new/" in as_administrator.get("/apps/").content.decode()
    assert "/apps/new/" not in as_viewer.get("/apps/").content.decode()


def test_an_app_is_created_and_opens_at_its_emails(as_administrator: Client, administrator: Member, qa: Stage) -> None:
    answer = as_administrator.post("/apps/new/", NEW, follow=True)
    assert answer.redirect_chain == [("/apps/payroll/configuration/emails/qa/", 302)]
    assert "The app Payroll was saved." in answer.content.decode()
    event = AuditEvent.objects.get()
    assert (event.operation, event.entity, event.actor, event.app) == ("Create", "app", administrator, App.objects.get())


def test_a_new_app_does_not_start_in_production(as_administrator: Client, production: Stage, qa: Stage, crm: App) -> None:
    as_administrator.get("/apps/crm/configuration/emails/production/")  # the stage that was shown last
    answer = as_administrator.post("/apps/new/", {**NEW, "key": ""})
    assert answer["Location"] == "/apps/payroll/configuration/emails/qa/"


def test_without_a_stage_an_app_leads_back_to_the_apps_with_a_reason(as_administrator: Client, crm: App) -> None:
    answer = as_administrator.get("/apps/crm/", follow=True)
    assert answer.redirect_chain == [("/apps/", 302)]
    assert "There is no stage yet" in answer.content.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", "new"),
        ("key", "crm"),
        ("key", "CRM"),
        ("key", "-crm"),
        ("key", "c r m"),
        ("key", "c_m"),
        ("key", "ключ"),
        ("key", "x" * 41),
        ("name", ""),
        ("name", "   "),
        ("name", "A\r\nB"),
        ("name", "N" * 61),
        ("colour", "transparent"),
        ("description", "D" * 201),
    ],
)
def test_bad_values_are_answered_422_at_their_field_and_kept(as_administrator: Client, crm: App, field: str, value: str) -> None:
    answer = as_administrator.post("/apps/new/", {**NEW, field: value})
    assert answer.status_code == 422
    assert field in answer.context["form"].errors
    assert "Pay slips" in answer.content.decode() or field == "description"
    assert App.objects.count() == 1


def test_a_reserved_key_is_told_in_words(as_administrator: Client) -> None:
    answer = as_administrator.post("/apps/new/", {**NEW, "key": "new"})
    assert "“new” is used in the portal" in answer.context["form"].errors["key"][0]


def test_an_app_is_edited_by_whom_may_but_never_its_key(as_developer: Client, crm: App, shop: App) -> None:
    edited = {**NEW, "name": "CRM 2", "key": "other", "version": 1}
    assert as_developer.post("/apps/crm/edit/", edited).status_code == 302
    assert App.objects.get(key="crm").name == "CRM 2"
    for path in ("/apps/shop/edit/", "/apps/new/"):
        assert as_developer.get(path).status_code == 403
        assert as_developer.post(path, edited).status_code == 403
    assert set(App.objects.values_list("key", flat=True)) == {"crm", "shop"}


def test_a_stale_save_of_an_app_is_refused_and_overwrites_nothing(as_administrator: Client, crm: App) -> None:
    assert as_administrator.post("/apps/crm/edit/", {**NEW, "name": "First", "version": 1}).status_code == 302
    answer = as_administrator.post("/apps/crm/edit/", {**NEW, "name": "Second", "version": 1})
    assert answer.status_code == 422
    assert STALE in answer.context["form"].non_field_errors()
    assert 'value="Second"' in answer.content.decode()
    assert App.objects.get().name == "First"
    with pytest.raises(StaleVersion):
        save_app(crm, OPERATOR)


@pytest.mark.parametrize(("version", "field"), [("", "version"), ("x", "version"), ("9" * 30, "__all__"), ("2", "__all__")])
def test_a_save_names_the_version_that_was_read(as_administrator: Client, crm: App, version: str, field: str) -> None:
    answer = as_administrator.post("/apps/crm/edit/", {**NEW, "name": "Second", "version": version})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {field}
    assert App.objects.get().name == "Customer Relations"


def test_the_keys_of_apps_and_stages_never_change(crm: App, qa: Stage) -> None:
    for thing in (crm, qa):
        thing.key = "other"
        with pytest.raises(ValidationError, match="The key can't be changed"):
            thing.full_clean()
    with pytest.raises(ValidationError):
        save_in_organization(qa, OPERATOR)


def test_keys_are_read_only_in_admin(as_administrator: Client, crm: App, qa: Stage) -> None:
    for path, data in (
        (f"/admin/organization/app/{crm.pk}/change/", {**NEW, "name": "Renamed", "key": "other", "version": 1}),
        (f"/admin/organization/stage/{qa.pk}/change/", {**STAGE, "name": "Renamed", "key": "other"}),
    ):
        assert as_administrator.post(path, data).status_code == 302
    assert (App.objects.get().key, App.objects.get().name) == ("crm", "Renamed")
    assert (Stage.objects.get().key, Stage.objects.get().name) == ("qa", "Renamed")


@pytest.mark.parametrize("path", ["/apps/nothing/", "/apps/nothing/edit/", "/apps/nothing/configuration/emails/qa/"])
def test_an_app_that_is_not_there_is_not_found(as_administrator: Client, qa: Stage, path: str) -> None:
    assert as_administrator.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("post", "/apps/"), ("post", "/apps/crm/"), ("put", "/apps/crm/edit/"), ("delete", "/apps/new/")]
)
def test_other_methods_are_not_allowed(as_administrator: Client, crm: App, method: str, path: str) -> None:
    assert getattr(as_administrator, method)(path).status_code == 405


@pytest.mark.parametrize(
    "path", ["/apps/", "/apps/new/", "/apps/crm/", "/apps/crm/edit/", "/apps/nothing/", "/accounts/profile/"]
)
def test_nobody_signed_in_is_sent_to_sign_in(client: Client, crm: App, path: str) -> None:
    for answer in (client.get(path), client.post(path, NEW)):
        assert answer["Location"] == f"/accounts/login/?next={path}"


def test_names_are_shown_as_text(as_administrator: Client, qa: Stage) -> None:
    name = "<script>alert(1)</script>"
    as_administrator.post("/apps/new/", {**NEW, "name": name, "description": f'"{name}'})
    for path in ("/apps/", "/apps/payroll/edit/", "/apps/payroll/configuration/emails/qa/", "/admin/organization/app/"):
        page = as_administrator.get(path).content.decode()
        assert "&lt;script&gt;alert" in page
        assert "<script>alert" not in page
