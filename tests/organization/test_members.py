from __future__ import annotations

from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client

from organization.models import AuditEvent, Member
from tests.support.portal import PASSWORD, make_member, signed_in

LOGIN = "/accounts/login/"
CHANGE = "/accounts/password/"
PROFILE = "/accounts/profile/"


def sign_in(client: Client, email: str, password: str = PASSWORD) -> bool:
    answer = client.post(LOGIN, {"username": email, "password": password})
    assert answer.status_code in (200, 302)
    return answer.status_code == 302


@pytest.mark.parametrize("email", ["vera.viewer@acme.example", "VERA.Viewer@ACME.example", " vera.viewer@acme.example "])
def test_members_sign_in_by_email_in_any_case(client: Client, viewer: Member, email: str) -> None:
    assert sign_in(client, email)
    assert client.get("/apps/").status_code == 200


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("vera.viewer@acme.example", "wrong"),
        ("vera.viewer@acme.example", PASSWORD.upper()),
        ("nobody@acme.example", PASSWORD),
        ("vera.viewer@acme.exampl_", PASSWORD),
        ("%", PASSWORD),
        ("\0", PASSWORD),
        ("x" * 10_000, PASSWORD),
        ("", ""),
    ],
)
def test_others_do_not_and_are_not_told_why(client: Client, viewer: Member, email: str, password: str) -> None:
    assert not sign_in(client, email, password)
    assert client.get("/apps/").status_code == 302


def test_a_removed_member_is_out_at_once(viewer: Member) -> None:
    client = Client()
    assert sign_in(client, viewer.email)
    Member.objects.update(is_active=False)
    assert client.get("/apps/").status_code == 302
    assert not sign_in(Client(), viewer.email)


def test_after_sign_in_one_is_where_one_wanted_to_go_but_never_on_another_site(client: Client, viewer: Member) -> None:
    data = {"username": viewer.email, "password": PASSWORD}
    assert client.post(f"{LOGIN}?next=/accounts/profile/", data)["Location"] == PROFILE
    client.logout()
    assert client.post(f"{LOGIN}?next=https://evil.example/", data)["Location"] == "/"


def test_signing_out_is_a_post_and_ends_the_session(as_viewer: Client) -> None:
    copied = Client()
    copied.cookies["sessionid"] = as_viewer.cookies["sessionid"].value
    assert as_viewer.get("/accounts/logout/").status_code == 405
    assert copied.get("/apps/").status_code == 200
    assert as_viewer.post("/accounts/logout/")["Location"] == LOGIN
    assert as_viewer.get("/apps/").status_code == 302
    assert copied.get("/apps/").status_code == 302


def test_an_email_address_is_one_member_whatever_its_case(viewer: Member) -> None:
    for email in (viewer.email, viewer.email.upper()):
        with pytest.raises(ValidationError, match=r"(?i)member with this e-?mail"):
            Member(email=email, name="Again", password="!").full_clean()
        with pytest.raises(IntegrityError), transaction.atomic():
            Member.objects.create(email=email, name="Again")


@pytest.mark.parametrize(
    "field", [{"email": "rubbish"}, {"email": ""}, {"name": ""}, {"name": "a\r\nb"}, {"time_zone": "Mars/Base"}]
)
def test_a_member_has_an_address_a_name_and_a_time_zone(db: None, field: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        Member(**{"email": "mia@acme.example", "name": "Mia", "password": "!", **field}).full_clean()
    assert set(refused.value.message_dict) == set(field)


def test_createsuperuser_asks_for_the_email(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    with pytest.raises(CommandError, match="email"):
        call_command("createsuperuser", "--no-input")
    with pytest.raises(CommandError, match="name"):
        call_command("createsuperuser", "--no-input", "--email", "root@acme.example")
    with pytest.raises(CommandError, match="isn't an email address"):
        call_command("createsuperuser", "--no-input", "--email", "rubbish", "--name", "Root")
    call_command("createsuperuser", "--no-input", "--email", "Root@ACME.example", "--name", "Root", stdout=StringIO())
    member = Member.objects.get()
    assert (member.email, member.is_superuser, member.is_staff) == ("Root@acme.example", True, True)
    assert sign_in(Client(), "root@acme.example")
    assert signed_in(member).get("/admin/").status_code == 200
    event = AuditEvent.objects.get(operation="Create")
    assert (event.operation, event.entity_id, event.after["is_superuser"]) == ("Create", str(member.pk), True)
    assert "createsuperuser" in event.actor_name


def test_changepassword_writes_the_password_alone_and_its_audit_entry(viewer: Member) -> None:
    client = signed_in(viewer)

    def deactivated_meanwhile(_: str) -> str:
        Member.objects.filter(pk=viewer.pk).update(is_active=False, name="Vera V.")
        return "another-long-phrase"

    with pytest.MonkeyPatch.context() as terminal:
        terminal.setattr("getpass.getpass", deactivated_meanwhile)
        call_command("changepassword", viewer.email.upper(), stdout=StringIO())
    stored = Member.objects.get(pk=viewer.pk)
    assert stored.check_password("another-long-phrase")
    assert (stored.is_active, stored.name) == (False, "Vera V.")
    event = AuditEvent.objects.get()
    assert (event.operation, event.entity_id) == ("Change password", str(viewer.pk))
    assert "changepassword" in event.actor_name
    assert client.get("/apps/").status_code == 302


def test_createsuperuser_asks_for_what_it_isnt_told(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = iter(["root@acme.example", "Root"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    monkeypatch.setattr("getpass.getpass", lambda _: "12345")
    with pytest.raises(CommandError, match="too short"):
        call_command("createsuperuser")
    assert not Member.objects.exists()
    lines = iter(["root@acme.example", "Root"])
    monkeypatch.setattr("getpass.getpass", lambda _: PASSWORD)
    call_command("createsuperuser", stdout=StringIO())
    assert Member.objects.get().check_password(PASSWORD)
    assert AuditEvent.objects.get().operation == "Create"
    with pytest.raises(CommandError, match="There is already a member with this email address"):
        call_command("createsuperuser", "--email", "ROOT@acme.example", "--name", "Second")
    assert Member.objects.count() == 1


@pytest.mark.parametrize(
    ("email", "typed", "says"),
    [
        ("nobody@acme.example", [], "There is no member"),
        ("vera.viewer@acme.example", ["a-long-phrase-1", "a-long-phrase-2"], "differ"),
        ("vera.viewer@acme.example", ["short", "short"], "too short"),
    ],
)
def test_changepassword_says_in_one_line_what_it_refuses(viewer: Member, email: str, typed: list[str], says: str) -> None:
    with pytest.MonkeyPatch.context() as terminal, pytest.raises(CommandError, match=says):
        terminal.setattr("getpass.getpass", lambda _: typed.pop(0))
        call_command("changepassword", email, stdout=StringIO())
    assert Member.objects.get(pk=viewer.pk).password == viewer.password
    assert not AuditEvent.objects.exists()


def test_a_members_domain_without_a_dot_is_asked_about(as_administrator: Client) -> None:
    typed = {"email": "mia@acme", "name": "Mia", "theme": "system", "time_zone": "UTC"}
    assert "Is the domain complete?" in as_administrator.post("/admin/organization/member/add/", typed).content.decode()
    assert not Member.objects.filter(name="Mia").exists()
    assert as_administrator.post("/admin/organization/member/add/", {**typed, "complete": "on"}).status_code == 200  # the link
    page = f"/admin/organization/member/{Member.objects.get(email='mia@acme').pk}/change/"
    assert as_administrator.post(page, {**typed, "name": "Mia M.", "new_password": "", "version": 1}).status_code == 302


def test_the_profile_changes_name_theme_and_time_zone_alone(viewer: Member) -> None:
    client = signed_in(viewer)
    typed = {
        "name": "Vera V.",
        "theme": "dark",
        "time_zone": "Europe/Lisbon",
        "is_staff": "on",
        "is_superuser": "on",
        "email": "x@y.z",
        "version": 0,
    }
    assert client.post(PROFILE, typed)["Location"] == PROFILE
    member = Member.objects.get()
    assert (member.name, member.theme, member.time_zone, member.email) == ("Vera V.", "dark", "Europe/Lisbon", viewer.email)
    assert not member.is_staff
    assert not member.is_superuser
    assert 'data-theme="dark"' in client.get("/apps/").content.decode()
    event = AuditEvent.objects.get()
    assert (event.before["name"], event.after["name"]) == ("Vera Viewer", "Vera V.")


def test_the_time_zones_are_named_after_places_and_keep_the_members_own(as_viewer: Client, viewer: Member) -> None:
    def offered() -> set[str]:
        return {zone for zone, _ in as_viewer.get(PROFILE).context["form"].fields["time_zone"].choices}

    assert {"UTC", "Europe/Lisbon"} <= offered()
    assert not {"US/Eastern", "Etc/GMT+5", "GB"} & offered()
    Member.objects.filter(pk=viewer.pk).update(time_zone="US/Eastern")
    assert "US/Eastern" in offered()


@pytest.mark.parametrize("bad", [{"name": ""}, {"name": "a\r\nb"}, {"theme": "pink"}, {"time_zone": "Mars/Base"}])
def test_a_bad_profile_is_answered_422(as_viewer: Client, bad: dict[str, str]) -> None:
    answer = as_viewer.post(PROFILE, {"name": "Vera", "theme": "dark", "time_zone": "UTC", "version": 0, **bad})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == set(bad)
    assert Member.objects.get().name == "Vera Viewer"


def test_a_name_that_was_not_saved_is_not_shown_as_the_members(as_viewer: Client) -> None:
    page = as_viewer.post(PROFILE, {"name": "Typed", "theme": "pink", "time_zone": "UTC"}).content.decode()
    assert "<strong>Vera Viewer</strong>" in page
    assert 'value="Typed"' in page


def test_a_member_who_changes_the_password_stays_signed_in_and_their_other_sessions_end(viewer: Member) -> None:
    here, elsewhere = Client(), Client()
    assert sign_in(here, viewer.email)
    assert sign_in(elsewhere, viewer.email)
    new = "another-long-phrase"
    answer = here.post(CHANGE, {"old_password": PASSWORD, "new_password1": new, "new_password2": new}, follow=True)
    assert "Your password was changed." in answer.content.decode()
    assert here.get("/apps/").status_code == 200
    assert elsewhere.get("/apps/").status_code == 302
    assert sign_in(Client(), viewer.email, new)
    event = AuditEvent.objects.get(operation="Change password")
    assert (event.operation, event.actor) == ("Change password", viewer)
    assert new not in str(AuditEvent.objects.values_list())


@pytest.mark.parametrize("bad", ["short", "123456789012345", "password1234", "vera.viewer@acme.example"])
def test_a_weak_or_unproven_new_password_is_refused(viewer: Member, bad: str) -> None:
    client = signed_in(viewer)
    for typed in (
        {"old_password": PASSWORD, "new_password1": bad, "new_password2": bad},
        {"old_password": "wrong", "new_password1": "another-long-phrase", "new_password2": "another-long-phrase"},
    ):
        answer = client.post(CHANGE, typed)
        assert answer.context["form"].errors
        assert f'value="{bad}"' not in answer.content.decode()
    assert Member.objects.get().check_password(PASSWORD)


def test_a_superusers_account_is_changed_by_superusers_only(as_administrator: Client) -> None:
    root = make_member("Root", is_superuser=True)
    typed = {"email": root.email, "name": "Mine", "theme": "system", "time_zone": "UTC"}
    assert as_administrator.post(f"/admin/organization/member/{root.pk}/change/", typed).status_code == 403
    assert Member.objects.get(pk=root.pk).name == "Root"
