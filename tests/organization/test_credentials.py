from __future__ import annotations

import hashlib
import html
import json
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from organization.credentials import LAST_USED_RESOLUTION, authenticate, create_credential, revoke_credential
from organization.exceptions import ArchivedPlace
from organization.models import App, AuditEvent, Credential, Member, Stage
from tests.support.portal import OPERATOR, configure, make_member, signed_in

SECTION = "/apps/crm/configuration/emails/qa/"
CREATE = f"{SECTION}credentials/"


def test_a_secret_has_256_bits_and_only_its_hash_is_stored(crm: App, qa: Stage) -> None:
    one, other = create_credential(crm, qa, OPERATOR), create_credential(crm, qa, OPERATOR)
    assert one.password != other.password
    assert len(one.password) == 43  # 32 bytes in base64
    assert one.credential.secret_hash == hashlib.sha256(one.password.encode()).hexdigest()
    assert one.credential.username.startswith("crm-qa-")
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            assert one.password not in str(cursor.fetchall()), table


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
    found = authenticate(new.credential.username, new.password)
    assert found is not None
    assert (found.app, found.stage) == (crm, qa)


@pytest.mark.parametrize("password", ["", "wrong", "\ud800", "x" * 100_000, "\0"])
def test_anything_else_does_not(crm: App, qa: Stage, password: str) -> None:
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
    with pytest.raises(ArchivedPlace, match=f"{name} is archived"):
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


def test_the_examples_send_as_the_stages_sender_to_whoever_reads_them(as_developer: Client, crm: App, qa: Stage) -> None:
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


@pytest.mark.parametrize("name", ["x" * 61, "a\r\nb", "\0"])
def test_a_bad_name_is_told_and_nothing_is_made(as_developer: Client, crm: App, qa: Stage, name: str) -> None:
    answer = as_developer.post(CREATE, {"name": name}, follow=True)
    assert answer.status_code in (200, 422)
    assert "toast--error" in answer.content.decode() or answer.status_code == 422
    assert not Credential.objects.exists()


def test_revoking_asks_first(as_developer: Client, crm: App, qa: Stage) -> None:
    new = create_credential(crm, qa, OPERATOR)
    url = f"{CREATE}{new.credential.pk}/revoke/"
    assert url in as_developer.get(SECTION).content.decode()
    assert "Revoke “Default” of Customer Relations in QA?" in as_developer.get(url).content.decode()
    assert authenticate(new.credential.username, new.password)
    assert as_developer.post(url)["Location"] == SECTION
    assert authenticate(new.credential.username, new.password) is None
    assert url not in as_developer.get(SECTION).content.decode()


def test_whoever_may_not_manage_them_sees_them_but_neither_makes_nor_revokes(
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
