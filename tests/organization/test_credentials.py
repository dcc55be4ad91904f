from __future__ import annotations

import hashlib
import html
import json
from datetime import UTC, date, datetime
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from organization.credentials import LAST_USED_RESOLUTION, change_credential, create_credential, revoke_credential
from organization.credentials import authenticate as authenticate_from
from organization.exceptions import CredentialRefused, StaleVersion
from organization.models import App, AuditEvent, Credential, Member, Stage
from tests.support.portal import OPERATOR, configure, make_member, signed_in

SECTION = "/apps/crm/configuration/emails/qa/"
CREATE = f"{SECTION}credentials/"


def authenticate(username: str, password: str, client: str = "192.0.2.7") -> Credential | None:
    return authenticate_from(username, password, client)


def test_a_secret_has_256_bits_and_only_its_hash_is_stored(crm: App, qa: Stage) -> None:
    first, second = create_credential(crm, qa, OPERATOR), create_credential(crm, qa, OPERATOR)
    assert first.password != second.password
    assert len(first.password) == 43  # 32 bytes in base64
    assert first.credential.secret_hash == hashlib.sha256(first.password.encode()).hexdigest()
    assert first.credential.username.startswith("crm-qa-")
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            assert first.password not in str(cursor.fetchall()), table


def test_the_audit_trail_knows_the_credential_but_neither_secret_nor_hash(crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR)
    revoke_credential(new.credential, OPERATOR)
    events = AuditEvent.objects.filter(entity="credential")
    assert [event.operation for event in events] == ["Revoke", "Create"]
    assert set(events[0].after) == {"revoked_at"}
    assert {(event.app, event.stage) for event in events} == {(crm, qa)}
    assert new.credential.secret_hash not in str(events.values_list())


def test_a_credential_signs_in_with_its_app_and_stage(crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR)
    credential = authenticate(new.credential.username, new.password)
    assert credential is not None
    assert (credential.app, credential.stage) == (crm, qa)


@pytest.mark.parametrize("password", ["", "wrong", "\ud800", "x" * 100_000, "\0"])
def test_a_wrong_password_does_not_sign_in(crm: App, qa: Stage, password: str) -> None:
    new = create_credential(crm, qa, OPERATOR)
    assert authenticate(new.credential.username, password) is None
    assert authenticate("nobody", password) is None
    assert authenticate(new.credential.username, new.credential.secret_hash) is None


@pytest.mark.parametrize("username", ["", "\0", "\ud800", "x" * 100_000, "' OR 1=1 --"])
def test_a_user_name_of_rubbish_is_unknown_and_breaks_nothing(crm: App, qa: Stage, username: str) -> None:
    assert authenticate(username, "password") is None


def _revoke(credential: Credential) -> None:
    revoke_credential(credential, OPERATOR)


def _archive_app(credential: Credential) -> None:
    App.objects.update(archived=True)


def _archive_stage(credential: Credential) -> None:
    Stage.objects.update(archived=True)


def test_a_credential_ends_when_it_is_revoked(crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR)
    _revoke(new.credential)
    assert authenticate(new.credential.username, new.password) is None


@pytest.mark.parametrize(("archive", "name"), [(_archive_app, "Customer Relations"), (_archive_stage, "QA")])
def test_a_credential_ends_when_its_app_or_stage_is_archived_and_only_its_password_is_told_why(
    crm: App, qa: Stage, archive: Any, name: str
) -> None:
    new = create_credential(crm, qa, OPERATOR)
    archive(new.credential)
    with pytest.raises(CredentialRefused, match=f"{name} is archived"):
        authenticate(new.credential.username, new.password)
    assert authenticate(new.credential.username, "guessed") is None


def test_unknown_and_wrong_cost_the_same_work(crm: App, qa: Stage, django_assert_num_queries: Any) -> None:
    new = create_credential(crm, qa, OPERATOR)
    for username in ("nobody", new.credential.username):
        with django_assert_num_queries(1):
            assert authenticate(username, "wrong") is None


def test_last_used_is_written_now_and_then_not_with_each_sign_in(crm: App, qa: Stage, django_assert_num_queries: Any) -> None:
    new = create_credential(crm, qa, OPERATOR)
    authenticate(new.credential.username, new.password)
    used = Credential.objects.get().last_used
    assert used is not None
    with django_assert_num_queries(1):
        authenticate(new.credential.username, new.password)
    Credential.objects.update(last_used=used - 2 * LAST_USED_RESOLUTION)
    authenticate(new.credential.username, new.password)
    assert Credential.objects.get().last_used >= used


def test_an_archived_app_or_stage_gets_no_credential(crm: App, qa: Stage) -> None:
    qa.archived = True
    with pytest.raises(ValidationError, match="archived"):
        create_credential(crm, qa, OPERATOR)
    assert not Credential.objects.exists()


def test_revoking_twice_is_no_error_and_one_event(crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR)
    _revoke(new.credential)
    when = Credential.objects.get().revoked_at
    _revoke(new.credential)
    assert Credential.objects.get().revoked_at == when
    assert AuditEvent.objects.filter(operation="Revoke").count() == 1


def test_the_password_is_shown_once_by_a_page_that_nobody_stores(as_developer: Client, crm: App, qa: Stage) -> None:
    answer = as_developer.post(CREATE, {"name": "web server"})
    assert answer.status_code == 200
    password = answer.context["password"]
    assert password in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    credential = Credential.objects.get()
    assert authenticate(credential.username, password) == credential
    page = as_developer.get(SECTION).content.decode()
    assert credential.username in page
    assert password not in page
    assert credential.secret_hash not in page


def test_the_examples_send_as_the_stages_sender_to_the_member_who_reads_them(as_developer: Client, crm: App, qa: Stage) -> None:
    """Another sender's domain would be replaced, and then the example wouldn't do what it says."""
    assert "--from 'app@example.com'" in html.unescape(as_developer.post(CREATE).content.decode())
    configure(qa, sender_address="no-reply@acme.example")
    page = html.unescape(as_developer.post(CREATE).content.decode())
    assert "--from 'no-reply@acme.example' --to 'devon.dev@acme.example'" in page
    assert '= "no-reply@acme.example", "devon.dev@acme.example", "Hello"' in page


def test_a_member_with_the_longest_name_may_create_one_too(crm: App, qa: Stage) -> None:
    member = Member(email="x" * 64 + "@" + ".".join(["y" * 60] * 3), name="N" * 100, is_superuser=True)
    member.set_unusable_password()
    member.full_clean()
    member.save()
    assert create_credential(crm, qa, member).credential.created_by.startswith("NNN")


def test_a_credential_is_valid_through_its_last_day_and_from_its_networks(crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR, ends=date(2040, 3, 1), networks="10.0.0.0/8, 192.0.2.7 2001:db8::/32")
    username = new.credential.username
    with time_machine.travel(datetime(2040, 3, 1, 23, 59, tzinfo=UTC), tick=False):
        for client in ("10.9.9.9", "192.0.2.7", "2001:db8::1"):
            assert authenticate(username, new.password, client) == new.credential
        assert Credential.objects.get().last_used_from == "2001:db8::1"
        for client in ("11.0.0.1", "2001:db9::1"):
            with pytest.raises(CredentialRefused, match=f"can't be used from {client}"):
                authenticate(username, new.password, client)
            assert authenticate(username, "guessed", client) is None
    the_day_after = time_machine.travel(datetime(2040, 3, 2, 0, 0, tzinfo=UTC), tick=False)
    with the_day_after, pytest.raises(CredentialRefused, match="expired on 2040-03-01"):
        authenticate(username, new.password, "10.9.9.9")


def test_a_change_is_to_the_version_that_was_read_and_not_of_a_revoked_one(crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR)
    first, second = Credential.objects.get(), Credential.objects.get()
    first.networks = "10.0.0.0/8"
    change_credential(first, OPERATOR)
    event = AuditEvent.objects.filter(operation="Update").get()
    assert (event.before["networks"], event.after["networks"]) == ("", "10.0.0.0/8")
    with pytest.raises(StaleVersion):
        change_credential(second, OPERATOR)
    _revoke(new.credential)
    with pytest.raises(ValidationError, match="revoked"):
        change_credential(Credential.objects.get(), OPERATOR)
    with pytest.raises(PermissionDenied):
        change_credential(Credential.objects.get(), make_member("Mia"))


def test_a_page_changes_end_and_networks(as_developer: Client, crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR)
    url = f"{CREATE}{new.credential.pk}/edit/"
    assert url in as_developer.get(SECTION).content.decode()
    typed = {"name": "web", "ends": "2040-03-01", "networks": "10.0.0.0/8", "version": new.credential.version}
    assert as_developer.post(url, typed)["Location"] == SECTION
    page = as_developer.get(SECTION).content.decode()
    assert "last day Mar 1, 2040" in page
    assert "only from 10.0.0.0/8" in page
    assert as_developer.post(url, typed).status_code == 422  # another version is stored now
    assert Credential.objects.get().version == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("name", name) for name in ("x" * 61, "a\r\nb", "\0")],
        *[("ends", day) for day in ("yesterday", "2001-01-01", "99999-01-01")],
        *[("networks", networks) for networks in ("office", "10.0.0.1/8", "10.0.0.0/99", "1.2.3", "10.0.0.0/8," * 60)],
    ],
)
def test_a_bad_value_is_told_at_its_field_and_nothing_is_stored(
    as_developer: Client, crm: App, qa: Stage, field: str, value: str
) -> None:
    answer = as_developer.post(CREATE, {"name": "web", field: value})
    assert answer.status_code == 422
    assert set(answer.context["form"].errors) == {field}
    assert not Credential.objects.exists()
    new = create_credential(crm, qa, OPERATOR)
    answer = as_developer.post(f"{CREATE}{new.credential.pk}/edit/", {"name": "web", "version": 0, field: value})
    assert set(answer.context["form"].errors) == {field}
    assert Credential.objects.get().version == 0


def test_revoking_asks_first(as_developer: Client, crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR)
    url = f"{CREATE}{new.credential.pk}/revoke/"
    assert url in as_developer.get(SECTION).content.decode()
    assert "Revoke “Default” of Customer Relations in QA?" in as_developer.get(url).content.decode()
    assert authenticate(new.credential.username, new.password)
    assert as_developer.post(url)["Location"] == SECTION
    assert authenticate(new.credential.username, new.password) is None
    assert url not in as_developer.get(SECTION).content.decode()


def test_a_member_without_the_permission_sees_credentials_but_cannot_create_or_revoke_them(
    as_developer: Client, as_viewer: Client, crm: App, shop: App, qa: Stage
) -> None:
    new = create_credential(shop, qa, OPERATOR)
    section = "/apps/shop/configuration/emails/qa/"
    for client in (as_viewer, as_developer):  # the developer is one of crm alone
        page = client.get(section).content.decode()
        assert new.credential.username in page
        assert "Create credential" not in page
        assert client.post(f"{section}credentials/").status_code == 403
        assert client.get(f"{section}credentials/{new.credential.pk}/revoke/").status_code == 403
        assert client.post(f"{section}credentials/{new.credential.pk}/revoke/").status_code == 403
    assert Credential.objects.get().revoked_at is None
    with pytest.raises(PermissionDenied):
        create_credential(shop, qa, make_member("Mia"))


def test_a_credential_is_only_found_at_its_own_app_and_stage(
    as_administrator: Client, crm: App, shop: App, qa: Stage, production: Stage
) -> None:
    new = create_credential(shop, qa, OPERATOR)
    for path in (
        f"crm/configuration/emails/qa/credentials/{new.credential.pk}",
        "shop/configuration/emails/qa/credentials/9" + "9" * 30,
    ):
        assert as_administrator.post(f"/apps/{path}/revoke/").status_code == 404
    assert Credential.objects.get().revoked_at is None


def test_wrong_methods_and_strangers(as_administrator: Client, client: Client, crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR)
    assert as_administrator.get(CREATE).status_code == 405
    assert as_administrator.delete(f"{CREATE}{new.credential.pk}/revoke/").status_code == 405
    for path in (CREATE, f"{CREATE}{new.credential.pk}/revoke/"):
        assert client.post(path)["Location"].startswith("/accounts/login/")
    assert Credential.objects.count() == 1


def test_the_command_shows_the_password_to_people_and_machines(crm: App, qa: Stage) -> None:
    out = StringIO()
    call_command("create_credential", "crm", "qa", "--json", stdout=out)
    shown = json.loads(out.getvalue())
    assert authenticate(shown["username"], shown["password"])
    out = StringIO()
    call_command("create_credential", "crm", "qa", "--name", "web", stdout=out)
    username, password = (line.split()[-1] for line in out.getvalue().splitlines()[:2])
    assert authenticate(username, password)
    for arguments in (("nothing", "qa"), ("crm", "nowhere"), ("crm", "qa", "--name", "x" * 61)):
        with pytest.raises(CommandError):
            call_command("create_credential", *arguments)


def test_admin_lists_and_revokes_but_never_makes_or_changes(as_administrator: Client, crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR)
    base = "/admin/organization/credential/"
    for path in (base, f"{base}{new.credential.pk}/change/"):
        page = as_administrator.get(path).content.decode()
        assert new.credential.username in page
        assert new.credential.secret_hash not in page
    assert as_administrator.post(f"{base}add/").status_code == 403
    assert as_administrator.post(f"{base}{new.credential.pk}/change/", {"name": "x"}).status_code == 403
    as_administrator.post(base, {"action": "revoke", "_selected_action": [new.credential.pk]})
    assert authenticate(new.credential.username, new.password) is None


def test_revoking_several_in_admin_is_all_or_nothing(developer: Member, crm: App, shop: App, qa: Stage) -> None:
    Member.objects.update(is_staff=True)
    chosen = [create_credential(app, qa, OPERATOR).credential.pk for app in (shop, crm)]
    answer = signed_in(developer).post("/admin/organization/credential/", {"action": "revoke", "_selected_action": chosen})
    assert answer.status_code == 403
    assert Credential.objects.filter(revoked_at=None).count() == 2


def test_a_credential_starts_outside_production(as_developer: Client, crm: App, qa: Stage, production: Stage) -> None:
    def card(stage: Stage) -> str:
        page = as_developer.get(f"/apps/crm/configuration/emails/{stage.key}/").content.decode()
        return page.partition('id="credentials"')[2].partition("</section>")[0]

    assert "Create credential for" not in card(qa)
    start = f'href="/apps/crm/configuration/emails/{qa.key}/#credentials"'
    assert start in card(production)
    assert "<summary>Create a credential for Production</summary>" in card(production)
    Stage.objects.filter(pk=qa.pk).update(archived=True)  # then there is only Production
    assert "Create credential for" not in card(production)
    assert "<summary>Create a credential for Production</summary>" not in card(production)
