"""Test connection, as the browser asks for it: who may, what is refused, what is tried, what is kept."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.http import HttpResponse
from django.test import Client

from emailconfig.connection.explanations import EXPLANATIONS
from emailconfig.doctor.runs import INTERRUPTED_AFTER, MAX_RUNNING
from emailconfig.models import ConnectionTest, SmtpSettings
from organization.exceptions import STALE
from organization.models import AuditEvent, Member, Stage
from tests.support.emailconfig import CANARY, VALUES, WITH_PASSWORD, manager_of
from tests.support.portal import configure, eventually, signed_in
from tests.support.servers.faulty_servers import FaultyServer
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)

START = "/management/configure/emails/qa/test/"
HTMX = {"HTTP_HX_REQUEST": "true"}
SAVED = {"saved": "yes"}


def of(test: ConnectionTest) -> str:
    return f"/management/configure/emails/{test.stage.key}/test/{test.pk}/"


def typed(server: SmtpServer | int, /, **values: Any) -> dict[str, Any]:
    """A form that names this server, or whatever listens on this port."""
    port = server if isinstance(server, int) else server.port
    return {**VALUES, "server": "127.0.0.1", "port": str(port), "security": "none", "version": "0", **values}


def words(answer: HttpResponse) -> str:
    return answer.content.decode().replace("&#x27;", "'")


def a_test(stage: Stage, member: Member, *, age: timedelta = timedelta(), **values: Any) -> ConnectionTest:
    """One that began so long ago."""
    test = ConnectionTest.objects.create(
        stage=stage, member=member, server="smtp.example.com:587", sender="no-reply@acme.example", **values
    )
    ConnectionTest.objects.filter(pk=test.pk).update(started=Now() - age)
    return test


def under_way() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "doctor"]


def when_over(test: ConnectionTest | None = None) -> ConnectionTest:
    """The test (the last one, if none is named) when it has ended."""
    eventually(lambda: not under_way())
    return ConnectionTest.objects.get(pk=test.pk) if test else ConnectionTest.objects.latest("pk")


@pytest.fixture(autouse=True)
def no_test_outlives_its_database(transactional_db: None) -> Iterator[None]:
    yield
    eventually(lambda: not under_way())


class HangingServer:
    """Takes connections and says nothing, until it goes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        """The server closes all connections that it accepted, also one that it accepts while it stops."""
        with ExitStack() as slots, suppress(OSError):
            while True:
                slots.enter_context(self._listener.accept()[0])

    def go(self) -> None:
        with suppress(OSError):  # gone already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        self._listener.close()


@pytest.fixture
def hanging_server() -> Iterator[HangingServer]:
    server = HangingServer()
    yield server
    server.go()


# Who may, and what isn't there


def test_nobody_signed_in_is_sent_to_sign_in(client: Client, qa: Stage, administrator: Member) -> None:
    for answer in (client.post(START, SAVED), client.get(of(a_test(qa, administrator)))):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("who", ["viewer", "developer", "manager of another stage"])
def test_without_the_permission_here_nothing_is_tested_and_nothing_is_seen(
    qa: Stage, production: Stage, administrator: Member, viewer: Member, developer: Member, smtp_server: SmtpServer, who: str
) -> None:
    configure(qa, smtp_server)
    clients = {
        "viewer": lambda: signed_in(viewer),
        "developer": lambda: signed_in(developer),
        "manager of another stage": lambda: manager_of(production),
    }
    client, test = clients[who](), a_test(qa, administrator)
    for data in (SAVED, typed(smtp_server)):
        assert client.post(START, data).status_code == 403
        assert client.post(START, data, **HTMX).status_code == 403
    assert client.get(of(test)).status_code == 403
    assert "Test connection" not in words(client.get("/management/configure/emails/qa/"))
    assert (ConnectionTest.objects.count(), smtp_server.connections) == (1, 0)


def test_a_forged_request_tests_nothing(administrator: Member, qa: Stage, smtp_server: SmtpServer) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(administrator)
    assert client.post(START, typed(smtp_server)).status_code == 403
    assert smtp_server.connections == 0


def test_other_methods_are_not_allowed(as_administrator: Client, administrator: Member, qa: Stage) -> None:
    shown = of(a_test(qa, administrator))
    for method, path in (("get", START), ("put", START), ("delete", START), ("post", shown), ("delete", shown)):
        assert getattr(as_administrator, method)(path).status_code == 405, (method, path)


def test_what_is_not_there_is_not_found(as_administrator: Client, administrator: Member, qa: Stage, production: Stage) -> None:
    test = a_test(qa, administrator)
    assert as_administrator.get(of(test)).status_code == 200
    for path in (f"{START}999999/", f"{START}{'9' * 40}/", f"{START}x/", of(test).replace("/qa/", "/production/")):
        assert as_administrator.get(path).status_code == 404, path
    assert as_administrator.post(START.replace("/qa/", "/nowhere/"), SAVED).status_code == 404


# What has to be corrected first


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"port": "25"}, "SMTP port: SMTP port 25 isn't supported"),
        ({"server": ""}, "SMTP server: "),
        ({"recipient": "nobody"}, "Test recipient: "),
        ({"authentication": "basic", "username": "portal"}, "Password: Enter the password."),
        (
            {"authentication": "oauth2", "client_id": "portal", "token_url": "https://login.example.com/token"},
            "Client secret: Enter the client secret.",
        ),
        ({"sender_address": "rubbish"}, "Sender address: "),
    ],
)
def test_what_is_wrong_in_the_form_is_named_and_nothing_is_tested(
    as_administrator: Client, qa: Stage, smtp_server: SmtpServer, values: dict[str, str], says: str
) -> None:
    for extra in ({}, HTMX):
        answer = as_administrator.post(START, typed(smtp_server, **values), **extra)
        assert answer.status_code == 422
        assert "Nothing was tested" in words(answer)
        assert says in words(answer)
        assert ("<html" in words(answer)) is (extra == {})
    assert (ConnectionTest.objects.count(), AuditEvent.objects.count(), smtp_server.connections) == (0, 0, 0)


def test_a_stage_without_settings_has_nothing_saved_to_test(as_administrator: Client, qa: Stage) -> None:
    answer = as_administrator.post(START, SAVED, **HTMX)
    assert answer.status_code == 422
    assert "There are no settings yet" in words(answer)


@pytest.mark.parametrize("change", ["port", "server", "username", "authentication"])
def test_the_stored_secret_is_never_sent_to_another_destination(
    as_administrator: Client, qa: Stage, smtp_server: SmtpServer, change: str
) -> None:
    configure(qa, smtp_server, authentication="basic", username="portal", new_secret=CANARY)
    with SmtpServer(users={"portal": "other"}) as other:
        basic = {"authentication": "basic", "username": "portal"}
        oauth = {"authentication": "oauth2", "client_id": "portal", "token_url": f"https://127.0.0.1:{other.port}/"}
        changed = {
            "port": typed(other, **basic),
            "server": typed(smtp_server, **basic, server="localhost"),
            "username": typed(smtp_server, authentication="basic", username="somebody"),
            "authentication": typed(smtp_server, **oauth),
        }
        answer = as_administrator.post(START, changed[change], **HTMX)
        assert answer.status_code == 422
        assert "Enter the client secret again" in words(answer) or "Enter the password again" in words(answer)
        assert (other.connections, smtp_server.connections, other.logins + smtp_server.logins) == (0, 0, [])


# What is tried


def test_what_was_typed_is_tried_and_nothing_of_it_is_stored(
    as_administrator: Client, qa: Stage, smtp_server: SmtpServer
) -> None:
    smtp_server.users = {"portal": CANARY}
    form = typed(smtp_server, **{name: WITH_PASSWORD[name] for name in ("authentication", "username", "password")})
    started = as_administrator.post(START, {**form, "recipient": "customer@example.com"}, **HTMX)
    assert started.status_code == 200
    test = when_over()
    page = words(as_administrator.get(of(test), **HTMX))
    assert "The connection test was successful: 127.0.0.1" in page
    assert "accepts email from no-reply@acme.example" in page
    for step in ("Name resolution", "Sign-in (AUTH)", "Sender (MAIL FROM)", "Recipient (RCPT TO)", "Reset (RSET)"):
        assert step in page
    assert smtp_server.logins == [("portal", CANARY)]
    assert smtp_server.arrived == []
    assert not SmtpSettings.objects.exists()
    assert CANARY not in page + words(started) + str(list(ConnectionTest.objects.values()))


def test_saved_settings_are_tried_with_their_secret_whatever_else_is_sent(
    as_administrator: Client, qa: Stage, smtp_server: SmtpServer
) -> None:
    smtp_server.users = {"portal": CANARY}
    before = configure(qa, smtp_server, authentication="basic", username="portal", new_secret=CANARY)
    as_administrator.post(START, {**SAVED, **typed(1, sender_name="Mine")}, **HTMX)
    assert all(finding["ok"] for finding in when_over().findings)
    assert smtp_server.logins == [("portal", CANARY)]
    smtp_settings = SmtpSettings.objects.get()
    assert (smtp_settings.version, smtp_settings.sender_name) == (before.version, "Acme")


def test_an_edited_form_may_keep_the_stored_secret_where_it_goes_to_the_same_place(
    as_administrator: Client, qa: Stage, smtp_server: SmtpServer
) -> None:
    smtp_server.users = {"portal": CANARY}
    configure(qa, smtp_server, authentication="basic", username="portal", new_secret=CANARY)
    form = typed(smtp_server, authentication="basic", username="portal", sender_address="other@acme.example", version="1")
    as_administrator.post(START, form, **HTMX)
    assert when_over().sender == "other@acme.example"
    assert smtp_server.logins == [("portal", CANARY)]
    assert SmtpSettings.objects.get().sender_address == "no-reply@acme.example"


@pytest.mark.parametrize("version", ["0", "2", ""])
def test_the_stored_secret_is_tried_only_with_the_version_that_the_form_was_read_at(
    as_administrator: Client, qa: Stage, smtp_server: SmtpServer, version: str
) -> None:
    smtp_server.users = {"portal": CANARY}
    configure(qa, smtp_server, authentication="basic", username="portal", new_secret=CANARY)
    form = typed(smtp_server, authentication="basic", username="portal", version=version)
    answer = as_administrator.post(START, form, **HTMX)
    assert answer.status_code == 422
    assert STALE in words(answer) or version == ""
    assert (ConnectionTest.objects.count(), smtp_server.connections) == (0, 0)


def test_what_a_server_lacks_is_said_though_the_test_was_successful(as_administrator: Client, qa: Stage) -> None:
    with FaultyServer(offers=()) as server:
        as_administrator.post(START, typed(server.port), **HTMX)
        page = words(as_administrator.get(of(when_over())))
    assert "The connection test was successful" in page
    assert f"<p>{EXPLANATIONS['no_8bitmime'].cause} " in page


def test_a_failure_says_the_cause_the_servers_words_and_what_to_do_but_no_secret(
    as_administrator: Client, qa: Stage, smtp_server: SmtpServer
) -> None:
    smtp_server.users = {"portal": "another"}
    smtp_server.refusal = lambda login, password: f"535 5.7.8 not with {password}"
    form = typed(smtp_server, authentication="basic", username="portal", password=CANARY)
    as_administrator.post(START, form, **HTMX)
    test = when_over()
    for page in (words(as_administrator.get(of(test), **HTMX)), words(as_administrator.get(of(test)))):
        assert "The connection test failed" in page
        assert "The server doesn't accept username and password." in page
        assert "<strong>What to do:</strong> Enter username and password again" in page
        assert "535 5.7.8 not with ••••" in page
        assert "data-copy=" in page
        assert "hx-trigger" not in page
        assert CANARY not in page
    assert smtp_server.logins == [("portal", CANARY)]
    assert CANARY not in str(list(ConnectionTest.objects.values()))
    assert CANARY not in str(AuditEvent.objects.values_list())


def test_what_a_server_says_is_shown_as_text(as_administrator: Client, qa: Stage, smtp_server: SmtpServer) -> None:
    smtp_server.mail = lambda _: "550 <script>alert(1)</script>"
    as_administrator.post(START, typed(smtp_server), **HTMX)
    page = words(as_administrator.get(of(when_over())))
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_without_scripts_the_test_is_a_page_that_refreshes_until_it_is_over(
    as_administrator: Client, qa: Stage, hanging_server: HangingServer
) -> None:
    answer = as_administrator.post(START, typed(hanging_server.port))
    test = ConnectionTest.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, of(test))
    running = words(as_administrator.get(of(test)))
    assert f"Testing 127.0.0.1:{hanging_server.port} …" in running
    assert 'http-equiv="refresh"' in running
    hanging_server.go()
    when_over(test)
    over = words(as_administrator.get(of(test)))
    assert "The connection test failed" in over
    assert 'http-equiv="refresh"' not in over


def test_the_audit_trail_names_who_tested_what_and_how_it_ended(
    as_administrator: Client, administrator: Member, qa: Stage, smtp_server: SmtpServer
) -> None:
    as_administrator.post(START, typed(smtp_server), **HTMX)
    when_over()
    smtp_server.mail = lambda _: "550 5.7.60 SendAsDenied"
    as_administrator.post(START, typed(smtp_server), **HTMX)
    when_over()
    events = list(AuditEvent.objects.filter(operation="Test").order_by("pk"))
    assert [event.status for event in events] == [AuditEvent.Status.SUCCEEDED, AuditEvent.Status.FAILED]
    for event in events:
        assert (event.actor, event.stage, event.entity_name) == (administrator, qa, f"127.0.0.1:{smtp_server.port}")
        assert event.request_id


# Servers that hang, and tests that don't end


def test_a_server_that_hangs_holds_no_request(as_administrator: Client, qa: Stage, hanging_server: HangingServer) -> None:
    answer = as_administrator.post(START, typed(hanging_server.port), **HTMX)
    shown = as_administrator.get(of(ConnectionTest.objects.get()), **HTMX)
    assert under_way()  # while the answers are here already
    for panel in (answer, shown):
        assert "hx-trigger" in words(panel)
        assert 'aria-busy="true"' in words(panel)


def test_so_many_tests_run_at_once_and_the_next_is_refused_in_words_until_one_has_ended(
    as_administrator: Client, qa: Stage, smtp_server: SmtpServer, hanging_server: HangingServer
) -> None:
    for _ in range(MAX_RUNNING):
        assert as_administrator.post(START, typed(hanging_server.port), **HTMX).status_code == 200
    refused = as_administrator.post(START, typed(smtp_server), **HTMX)
    assert refused.status_code == 422
    assert "Too many connection tests are running" in words(refused)
    assert (ConnectionTest.objects.count(), smtp_server.connections) == (MAX_RUNNING, 0)
    hanging_server.go()
    eventually(lambda: not under_way())
    for _ in range(MAX_RUNNING + 1):
        assert as_administrator.post(START, typed(smtp_server), **HTMX).status_code == 200
        when_over()


def test_a_test_that_lost_its_process_says_so_and_is_asked_for_no_more(
    as_administrator: Client, administrator: Member, qa: Stage
) -> None:
    lost = a_test(qa, administrator, age=INTERRUPTED_AFTER + timedelta(seconds=1))
    running = a_test(qa, administrator, age=INTERRUPTED_AFTER / 2)
    for extra in ({}, HTMX):
        page = words(as_administrator.get(of(lost), **extra))
        assert "The test was interrupted" in page
        assert "The connection test failed" not in page
        assert "hx-trigger" not in page
        assert "refresh" not in page
    assert "hx-trigger" in words(as_administrator.get(of(running), **HTMX))


def test_tests_are_forgotten_after_a_day(
    as_administrator: Client, administrator: Member, qa: Stage, smtp_server: SmtpServer
) -> None:
    a_test(qa, administrator, age=timedelta(days=1, minutes=1), finished=Now())
    kept = a_test(qa, administrator, age=timedelta(hours=23), finished=Now())
    as_administrator.post(START, typed(smtp_server), **HTMX)
    assert list(ConnectionTest.objects.values_list("pk", flat=True).order_by("pk")) == [kept.pk, when_over().pk]
