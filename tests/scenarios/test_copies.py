"""A copy of the database sends nothing until a person has answered: what asks, what doesn't, and what an answer does.

The rows of the two tables are the rows of the table in docs/how-to/operator.md.
"""

from __future__ import annotations

import json
import shutil
import signal
import smtplib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from delivery.config import DeliveryConfig
from delivery.coordinator import Coordinator
from delivery.due_messages import stages_with_due_mail
from emailconfig.models import SmtpSettings
from organization.credentials import create_credential
from organization.installation import identity
from organization.installation.seal import seal_new
from organization.models import App, AuditEvent, Credential, Installation, Role, Stage
from organization.permissions import Permission
from organization.recipient_policy.policy import RecipientPolicy
from outbox.copies.answers import make_test_copy, names_of_database, replace_original
from outbox.copies.copied_mail import answer_for_one, answer_for_stage
from outbox.copies.noticing import notice
from outbox.holding.held_mail import Choice
from outbox.models import HoldReason, Message, Recipient, Status
from portal.readiness import check
from tests.support import databases
from tests.support.databases import asks, connected_to, copy_of_test_database, seal_again, vacuum_into
from tests.support.outbox import deliver, hold_the_line, in_state, send, set_list
from tests.support.portal import (
    OPERATOR,
    ROOT,
    configure,
    eventually,
    mail,
    make_member,
    manage,
    running,
    signed_in,
)
from tests.support.smtp_server import SmtpServer, listening, reserved_port

Patch = pytest.MonkeyPatch
Case = Callable[[str, Path, Patch], str]


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    """The server only without PIPELINING, because what a copy sends doesn't depend on it."""
    with SmtpServer() as server:
        yield server


@pytest.fixture
def site(transactional_db: None, tmp_path: Path) -> Iterator[str]:
    """A sealed database, the original of the copies."""
    folder = tmp_path / "original"
    folder.mkdir()
    name = copy_of_test_database(folder)
    with connected_to(name):
        assert not asks()
    yield name
    if connection.vendor == "postgresql":
        for left in (name, f"{name}_copy"):
            databases.maintain(f'DROP DATABASE IF EXISTS "{left}" WITH (FORCE)')


# SQLite. Each case gives the database that a process then opens.


def _vacuumed_into(site: str, folder: Path, patch: Patch) -> str:
    vacuum_into(site, folder / "backup.sqlite3")
    return str(folder / "backup.sqlite3")


def _folder_copied(site: str, folder: Path, patch: Patch) -> str:
    return databases.copy_files(site, folder / "copy")


def _folder_renamed(site: str, folder: Path, patch: Patch) -> str:
    Path(site).parent.rename(folder / "moved")
    return str(folder / "moved" / Path(site).name)


def _file_moved(site: str, folder: Path, patch: Patch) -> str:
    return shutil.move(site, f"{site}.moved")


def _backup_in_its_place(site: str, folder: Path, patch: Patch) -> str:
    vacuum_into(site, folder / "backup.sqlite3")
    return shutil.move(folder / "backup.sqlite3", site)


def _on_machine(site: str, patch: Patch, file: Path, *, container: bool) -> None:
    """Seal the database on one machine, and come back on another."""
    patch.delenv("container", raising=False)
    patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    patch.setattr(identity, "MACHINE_ID_FILE", file)
    patch.setattr(identity, "_MARKS_OF_CONTAINERS", (file,) if container else ())
    file.write_text("one")
    with connected_to(site):
        seal_again()
    file.write_text("another")


def _on_another_machine(site: str, folder: Path, patch: Patch) -> str:
    _on_machine(site, patch, folder / "machine-id", container=False)
    return site


def _another_id(site: str, folder: Path, patch: Patch) -> str:
    patch.setattr("django.conf.settings.INSTALLATION_ID", "acme-staging")
    return site


def _in_another_container(site: str, folder: Path, patch: Patch) -> str:
    _on_machine(site, patch, folder / "machine-id", container=True)
    return site


def _by_another_path(site: str, folder: Path, patch: Patch) -> str:
    (folder / "link").symlink_to(Path(site).parent)
    return str(folder / "link" / Path(site).name)


def _vacuumed_in_place(site: str, folder: Path, patch: Patch) -> str:
    with connected_to(site), connection.cursor() as cursor:
        cursor.execute("VACUUM")
    return site


def _as_it_was(site: str, folder: Path, patch: Patch) -> str:
    return site


# PostgreSQL.


def _restored_elsewhere(site: str, folder: Path, patch: Patch) -> str:
    databases.dump_and_restore(site, f"{site}_copy")
    return f"{site}_copy"


def _restored_under_its_name(site: str, folder: Path, patch: Patch) -> str:
    dump = databases.program("pg_dump", "-U", "postgres", "-h", databases.host(), "-Fc", site)
    databases.maintain(f'DROP DATABASE "{site}"')
    databases.program("createdb", "-U", "postgres", "-h", databases.host(), site)
    databases.program("pg_restore", "-U", "postgres", "-h", databases.host(), "-d", site, stdin=dump)
    return site


def _made_from_template(site: str, folder: Path, patch: Patch) -> str:
    databases.create_database(f"{site}_copy", site)
    return f"{site}_copy"


def _renamed(site: str, folder: Path, patch: Patch) -> str:
    databases.maintain(f'ALTER DATABASE "{site}" RENAME TO "{site}_copy"')
    return f"{site}_copy"


SQLITE: dict[str, tuple[Case, bool]] = {
    "`VACUUM INTO` or another backup, opened as a file of its own": (_vacuumed_into, True),
    "a copied folder, with the file `installation-id` in it": (_folder_copied, True),
    "the same file under another path: moved, or its folder renamed": (_file_moved, True),
    "a backup moved to the file's place": (_backup_in_its_place, True),
    "the same path on another machine, outside containers": (_on_another_machine, True),
    "another container or host name with the same volume": (_in_another_container, False),
    "the same file through a link": (_by_another_path, False),
    "`VACUUM` in place": (_vacuumed_in_place, False),
}
POSTGRESQL: dict[str, tuple[Case, bool]] = {
    "`pg_dump`, restored into another database": (_restored_elsewhere, True),
    "`pg_dump`, restored under the same name after `dropdb`": (_restored_under_its_name, True),
    "`CREATE DATABASE … TEMPLATE`": (_made_from_template, True),
    "a renamed database": (_renamed, True),
}
BOTH: dict[str, tuple[Case, bool]] = {
    "another `INSTALLATION_ID`": (_another_id, True),
    "a restart of the portal, its workers, its gateway or the database": (_as_it_was, False),
}


def _cases() -> list[Any]:
    cases = []
    for table, marks in ((SQLITE, [pytest.mark.requires_sqlite]), (POSTGRESQL, [pytest.mark.requires_postgresql]), (BOTH, [])):
        for row, (case, is_copy) in table.items():
            cases.append(pytest.param(case, is_copy, id=row, marks=marks))
    return [*cases, pytest.param(_folder_renamed, True, id="a renamed folder", marks=pytest.mark.requires_sqlite)]


@pytest.mark.parametrize(("case", "is_copy"), _cases())
def test_what_asks_and_what_does_not(site: str, tmp_path: Path, monkeypatch: Patch, case: Case, is_copy: bool) -> None:
    with connected_to(case(site, tmp_path, monkeypatch)):
        assert asks() is is_copy


def test_the_documentation_has_every_row_of_the_tables() -> None:
    text = (ROOT / "docs/how-to/operator.md").read_text()
    asking, quiet = text.partition("### What the portal notices")[2].partition("Not noticed")[0].split("Never asks")
    for row, (_, is_copy) in (SQLITE | POSTGRESQL | BOTH).items():
        assert row in (asking if is_copy else quiet), row


@pytest.mark.requires_postgresql
def test_another_server_asks_and_a_base_backup_by_its_id(site: str, settings: Any) -> None:
    """A promoted replica is also a base backup. It has the original's id, so it must not ask."""
    settings.INSTALLATION_ID = "acme-production"
    with connected_to(site):
        seal_again()
    with databases.another_server(base_backup=True) as host, connected_to(site, host):
        assert not asks()
        settings.INSTALLATION_ID = "acme-staging"
        assert asks()
    settings.INSTALLATION_ID = "acme-production"
    with databases.another_server() as host:
        databases.dump_and_restore(site, site, host)
        with connected_to(site, host):
            assert asks()
    with connected_to(site):
        assert not asks()


@pytest.mark.requires_postgresql
def test_a_role_that_may_not_read_the_system_identifier_has_a_seal_all_the_same(site: str) -> None:
    databases.maintain("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    with connected_to(site), connection.cursor() as cursor:
        cursor.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; DROP ROLE IF EXISTS plain; CREATE ROLE plain")
        cursor.execute("SET ROLE plain")
        try:
            parts = identity._postgresql()
        finally:
            cursor.execute("RESET ROLE; DROP ROLE plain; GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
    assert parts["cluster"] == ""
    assert parts["oid"]


def test_fifty_restarts_and_processes_that_start_at_once_never_ask(site: str) -> None:
    with connected_to(site):
        Installation.objects.all().delete()
        start, answers = threading.Barrier(8), []

        def begin() -> None:
            start.wait()
            answers.append(notice())
            connection.close()

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [False] * 8
        assert not any(asks() for _ in range(50))
        assert Installation.objects.count() == 1


def test_after_kill_9_and_beside_a_second_worker_nothing_asks(
    transactional_db: None, crm: App, qa: Stage, smtp_server: SmtpServer
) -> None:
    configure(qa, smtp_server)
    on_the_wire, answer = hold_the_line(smtp_server)
    send(crm, qa)
    with running("deliver") as worker:
        assert on_the_wire.wait(60)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    answer.set()
    send(crm, qa, "second@example.com")
    with running("deliver"), running("deliver"):
        eventually(lambda: Message.objects.filter(requested=["second@example.com"], status=Status.SENT).exists())
    assert not asks()


@pytest.fixture
def copied(transactional_db: None, crm: App, qa: Stage, smtp_server: SmtpServer, tmp_path: Path) -> Iterator[str]:
    """A database with unsent mail, of which the original has sent nothing yet: queued, on the wire, tried before."""
    configure(qa, smtp_server, authentication="basic", username="acme", new_secret="s3cret-of-acme", security="none")
    smtp_server.users = {"acme": "s3cret-of-acme"}
    set_list(crm, qa, "tess@acme.example")
    send(crm, qa, "listed@example.com")
    set_list(crm, qa, "tess@acme.example", active=False)
    send(crm, qa, "queued@example.com", "also@example.com")
    send(crm, qa, "wire@example.com")
    Message.objects.filter(requested=["wire@example.com"]).update(**in_state(Status.SENDING))
    Recipient.objects.filter(address="wire@example.com").update(status=Status.SENDING)
    create_credential(crm, qa, OPERATOR)
    seal_new()
    name = copy_of_test_database(tmp_path)
    with connected_to(name):  # with the original's seal
        Installation.objects.create(seal=_seal_of_original())
        yield name
    if connection.vendor == "postgresql":
        databases.maintain(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _seal_of_original() -> str:
    return identity.as_text({**identity.identity(), "id": "acme-original"})


def test_a_copy_accepts_and_sends_nothing_through_real_processes(
    copied: str, smtp_server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    credential = create_credential(App.objects.get(), Stage.objects.get(), OPERATOR)
    assert notice()  # what is accepted before the first process notices it counts as the copy's
    with reserved_port() as port, running("smtp_gateway", "--port", str(port)):
        eventually(lambda: listening(port))
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as smtp:
            smtp.login(credential.credential.username, credential.password)
            smtp.sendmail("crm@acme.example", ["accepted@example.com"], mail())
    assert manage("deliver", "--once").returncode == 0
    with pytest.raises(CommandError, match="This database is a copy"):
        call_command("check_smtp", "qa")
    call_command("installation", "--json")
    facts = json.loads(capsys.readouterr().out)
    assert facts["copy"]
    assert facts["seal"]["id"] == "acme-original"
    assert facts["emails"] == [{"stage": "qa", "queued": 2, "on_the_wire": 1, "real_recipients": 3}]
    assert Message.objects.filter(requested=["accepted@example.com"], status=Status.QUEUED).exists()
    assert smtp_server.arrived == []
    assert smtp_server.connections == 0


def test_a_running_worker_claims_nothing_more_once_the_database_is_a_copy(copied: str, qa: Stage) -> None:
    coordinator = Coordinator(DeliveryConfig())
    coordinator.start()
    try:
        batch = coordinator.report_and_claim(qa.pk, (), 10)
    finally:
        coordinator.close()
    assert (list(batch.messages), batch.settings) == ([], None)
    assert stages_with_due_mail() == []
    Installation.objects.all().delete()
    assert [stage.pk for stage in stages_with_due_mail()] == [qa.pk]


def test_every_page_and_the_probe_say_it(copied: str, qa: Stage) -> None:
    administrator = make_member("Root", is_superuser=True, is_staff=True)
    viewer = make_member("Vera")
    pages = {"/": administrator, "/apps/": viewer, "/admin/": administrator}
    for page, member in pages.items():
        assert "This database is a copy" in signed_in(member).get(page).content.decode(), page
    assert "This database is a copy" in Client().get("/accounts/login/").content.decode()
    assert 'href="/management/installation/"' not in signed_in(viewer).get("/apps/").content.decode()
    answer = check()
    assert any("This database is a copy" in cause for cause in answer.causes)
    assert answer.facts["copy"] is True
    page = signed_in(administrator).get("/management/installation/").content.decode()
    assert "all of these 3 emails" in page
    assert "acme-original" in page
    tested = signed_in(administrator).post(f"/management/configure/emails/{qa.key}/test/", {"saved": "1"})
    assert "connects to no server" in tested.content.decode()


def test_what_came_with_a_copy_that_replaces_the_original_waits_for_a_person(
    copied: str, crm: App, qa: Stage, smtp_server: SmtpServer
) -> None:
    assert notice()
    send(crm, qa, "since@example.com")
    assert replace_original(OPERATOR) == 3
    deliver()
    assert [envelope.recipients for envelope in smtp_server.arrived] == [["since@example.com"]]
    held = Message.objects.filter(status=Status.HELD, hold_reason=HoldReason.COPY)
    listed, queued, _ = held.order_by("pk")
    answer_for_one(queued, Choice.DELIVER, OPERATOR)
    answer_for_one(listed, Choice.DISCARD, OPERATOR, "seen in the server's log")
    deliver()
    assert smtp_server.arrived[1].recipients == ["queued@example.com", "also@example.com"]
    listed.refresh_from_db()
    assert listed.status == Status.FAILED
    assert "seen in the server's log" in listed.recipients.get().last_reply
    with pytest.raises(ValidationError, match="isn't held"):
        answer_for_one(queued, Choice.DISCARD, OPERATOR)
    assert answer_for_stage(qa, Choice.DELIVER, OPERATOR) == 1
    deliver()
    assert smtp_server.arrived[2].recipients == ["wire@example.com"]
    assert len({envelope.content for envelope in smtp_server.arrived}) == 3
    assert not asks()
    with pytest.raises(ValidationError, match="isn't a copy"):
        replace_original(OPERATOR)


def test_a_test_copy_captures_everything_and_has_no_secret(copied: str, crm: App, qa: Stage, smtp_server: SmtpServer) -> None:
    with pytest.raises(ValidationError, match="isn't the name"):
        make_test_copy(OPERATOR, "production")
    assert asks()
    make_test_copy(OPERATOR, names_of_database()[0])
    accepted = send(crm, qa, "since@example.com")
    deliver()
    assert smtp_server.connections == 0
    assert accepted.status == Status.CAPTURED
    assert set(Message.objects.values_list("status", flat=True)) == {Status.CAPTURED}
    assert set(Recipient.objects.values_list("status", flat=True)) == {Status.CAPTURED}
    listed = Message.objects.order_by("pk")[0]
    assert [recipient.address for recipient in listed.recipients.all()] == ["listed@example.com"]
    assert Stage.objects.get().recipient_policy == RecipientPolicy.NOBODY
    assert not SmtpSettings.objects.get().secret
    assert Credential.objects.get().revoked
    assert not Session.objects.exists()
    assert not asks()
    event = AuditEvent.objects.get(operation="Make a test copy")
    assert event.before == {"id": "acme-original"}
    assert {"secrets": 1, "credentials": 1}.items() <= event.after.items()


def test_neutralize_is_refused_unless_this_is_the_copy_it_names(copied: str) -> None:
    name = names_of_database()[0]
    with pytest.raises(CommandError, match="isn't the name of the database"):
        call_command("neutralize", database="production")
    call_command("neutralize", database=name)
    with pytest.raises(CommandError, match="isn't a copy"):
        call_command("neutralize", database=name)


def test_only_who_manages_stages_and_email_configurations_everywhere_may_answer(copied: str, qa: Stage) -> None:
    notice()
    email_alone = Role.objects.create(name="Email", permissions=[Permission.MANAGE_EMAIL_CONFIGURATIONS.value])
    both_in_qa = Role.objects.create(
        name="QA", permissions=[Permission.MANAGE_EMAIL_CONFIGURATIONS.value, Permission.MANAGE_STAGES.value]
    )
    both_in_qa.stages.add(qa)
    for member in (make_member("Emil", email_alone), make_member("Quinn", both_in_qa)):
        for answer in (lambda actor: replace_original(actor), lambda actor: make_test_copy(actor, names_of_database()[0])):
            with pytest.raises(PermissionDenied):
                answer(member)
    assert asks()


def test_the_pages_answer_and_list_what_is_held(copied: str, qa: Stage, smtp_server: SmtpServer) -> None:
    client = signed_in(make_member("Root", is_superuser=True))
    client.post("/management/installation/replaces-original/")
    assert "of the copy held: deliver or discard?" in client.get("/").content.decode()
    emails = f"/management/installation/emails/{qa.key}/"
    page = client.get(emails).content.decode()
    queued = Message.objects.get(requested=["queued@example.com", "also@example.com"])
    assert queued.message_id.strip("<>") in page
    client.post(f"{emails}{queued.pk}/", {"answer": "deliver"})
    client.post(f"{emails}discard/", {"reason": "The original sent them"})
    deliver()
    assert smtp_server.arrived[0].recipients == ["queued@example.com", "also@example.com"]
    assert not Message.objects.filter(status=Status.HELD).exists()
    assert "Nothing of a copy is held here" in client.get(emails).content.decode()


def test_a_process_with_another_id_sends_nothing_and_the_probe_warns(
    transactional_db: None, crm: App, qa: Stage, smtp_server: SmtpServer, settings: Any
) -> None:
    """The other processes continue."""
    configure(qa, smtp_server)
    seal_new()
    send(crm, qa)
    own, settings.INSTALLATION_ID = settings.INSTALLATION_ID, "acme-typo"
    deliver()
    assert smtp_server.arrived == []
    settings.INSTALLATION_ID = own
    answer = check()
    assert any("same INSTALLATION_ID" in warning for warning in answer.warnings)
    assert not answer.facts["copy"]
    deliver()
    assert len(smtp_server.arrived) == 1
