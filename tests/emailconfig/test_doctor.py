"""The connection doctor against servers with every fault we know.

Each fault is found at its step and explained correctly. Nothing is sent to the server after it.
"""

from __future__ import annotations

import base64
import errno
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

import emailconfig.connection.networks
import emailconfig.connection.setup
import emailconfig.doctor.examination
from emailconfig.connection import ConnectionFailure
from emailconfig.connection.explanations import EXPLANATIONS
from emailconfig.connection.failure import diagnosing
from emailconfig.connection.networks import Address, connect_any
from emailconfig.connection.token_request import request_token
from emailconfig.doctor.examination import Finding, examine, is_healthy
from emailconfig.models import SmtpSettings
from organization.models import Stage
from tests.support.emailconfig import CANARY
from tests.support.servers.faulty_servers import (
    FAULTS,
    MANY_LINES,
    ONE_LONG_LINE,
    Fault,
    FaultyServer,
    Forger,
    SelfSigned,
    deaf_port,
    drip,
    token_server,
)
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.slow

TOKEN = "kanarientoken-77c2b1"
RECIPIENT = "customer@example.com"
# In the order in which they are sent.
COMMANDS = ("EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "RSET")
LAST_COMMAND = {"greeting": "", "TLS": "", "EHLO": "HELO", "MAIL FROM": "MAIL", "RCPT TO": "RCPT"}


# What is found by waiting in vain. Everybody else may take their time: the machine may be busy.
SILENT = ("silent", "tls_expected", "no_answer")


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emailconfig.connection.networks, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(emailconfig.connection.networks, "_REFUSAL_SECONDS", 0.0)


@pytest.fixture
def names_lead_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Tell what the system's resolver answers, whatever it is asked; without addresses, that it knows no such name."""

    def lead(*addresses: str, port: int) -> None:
        result = [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]
        monkeypatch.setattr(socket, "getaddrinfo", (lambda *_, **__: result) if result else _unknown)

    return lead


def _unknown(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Forger:
    return Forger(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def token_url() -> Iterator[str]:
    with token_server(TOKEN) as url:
        yield url


def settings_for(port: int, **values: Any) -> SmtpSettings:
    """For a server on this machine, with a password, as they come from the form: not stored."""
    defaults = {"server": "127.0.0.1", "security": "none", "authentication": "basic", "username": "portal", "client_id": "client"}
    settings = SmtpSettings(stage=Stage(key="qa"), sender_address="no-reply@acme.example")
    settings.new_secret = CANARY
    for name, value in {**defaults, "port": port, **values}.items():
        setattr(settings, name, value)
    return settings


def secrets() -> set[str]:
    """As they could stand in a finding or in what a server hears."""
    shapes = [CANARY, f"\0portal\0{CANARY}", TOKEN, f"user=portal\x01auth=Bearer {TOKEN}\x01\x01"]
    encoded = [base64.b64encode(shape.encode()).decode() for shape in shapes]
    # smtplib takes the first four characters of a line for its code
    return {part for form in (*shapes, *encoded) for part in (form, form[4:])}


def assert_no_secret_in(text: str) -> None:
    assert [secret for secret in secrets() if secret in text] == []


def assert_found(findings: list[Finding], step: str, code: str) -> None:
    """This is the last thing found, and the only one that is wrong."""
    *before, last = findings
    assert (last.step, last.code, last.ok) == (step, code, False)
    assert (last.cause, last.next) == (EXPLANATIONS[code].cause, EXPLANATIONS[code].advice)
    assert [(finding.ok, finding.code, finding.cause, finding.next) for finding in before] == [(True, "ok", "", "")] * len(before)
    assert_no_secret_in(repr(findings))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_where_it_is_and_explained(
    name: str, forger: Forger, token_url: str, monkeypatch: pytest.MonkeyPatch, names_lead_to: Callable[..., None]
) -> None:
    fault = FAULTS[name]
    if fault.code == "too_slow":
        monkeypatch.setattr(emailconfig.doctor.examination, "TOTAL_SECONDS", 1.0)
    if fault.code in SILENT:
        monkeypatch.setattr(emailconfig.connection.setup, "REPLY_SECONDS", 1.0)
    unvouched = fault.tls in ("unknown authority", "self-signed")
    tls = forger.context(fault.tls) if fault.tls else None
    with FaultyServer(fault.answers, tls, fault.from_the_start, fault.offers) as server:
        values = {"port": server.port, "ca_certificate": "" if unvouched else forger.pem, "token_url": token_url, **fault.values}
        if values["port"] != server.port:
            names_lead_to("127.0.0.1", port=server.port)
        findings = examine(settings_for(**values), RECIPIENT)
    assert_found(findings, fault.step, fault.code)
    assert_nothing_follows(fault, server)
    assert server.connections == 1
    if isinstance(answer := fault.answers.get(LAST_COMMAND.get(fault.step, fault.step)), str):
        assert " ".join(answer.splitlines()[-1].split()) in findings[-1].evidence


def assert_nothing_follows(fault: Fault, server: FaultyServer) -> None:
    """No command after the one that failed, and no secret before the sign-in."""
    last = LAST_COMMAND.get(fault.step, fault.step)
    later = COMMANDS[COMMANDS.index(last) + 1 :] if last else COMMANDS
    assert not set(server.commands) & set(later)
    if "AUTH" in later:
        assert_no_secret_in("\n".join(server.heard))


@pytest.mark.parametrize("reply", [ONE_LONG_LINE, MANY_LINES], ids=["one line of a megabyte", "a megabyte of lines"])
@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RSET"])
def test_a_reply_of_a_megabyte_counts_by_its_code(step: str, reply: bytes) -> None:
    text = reply.replace(b"250", b"220") if step == "greeting" else reply
    with FaultyServer({step: text}) as server:
        findings = examine(settings_for(server.port, authentication="none"))
    assert [finding.step for finding in findings if not finding.ok] == []
    assert len(repr(findings)) < 100_000


# --- No server to talk to


def test_nothing_listens(closed_port: int) -> None:
    assert_found(examine(settings_for(closed_port)), "TCP", "connection_refused")


def test_a_firewall_drops_what_is_sent() -> None:
    with deaf_port() as port:
        assert_found(examine(settings_for(port)), "TCP", "connect_timeout")


def test_a_firewall_in_front_of_many_addresses_is_no_slow_server(
    monkeypatch: pytest.MonkeyPatch, names_lead_to: Callable[..., None]
) -> None:
    monkeypatch.setattr(emailconfig.connection.networks, "REACH_SECONDS", 1.0)
    monkeypatch.setattr(emailconfig.doctor.examination, "TOTAL_SECONDS", 1.5)
    with deaf_port() as port:
        names_lead_to(*(f"127.0.0.{number}" for number in range(1, 7)), port=port)
        assert_found(examine(settings_for(port)), "TCP", "connect_timeout")


@pytest.mark.parametrize("first", ["IPv4", "IPv6"])
def test_a_missing_way_by_ipv6_does_not_hide_what_ipv4_said(
    no_ipv6: None, names_lead_to: Callable[..., None], closed_port: int, first: str
) -> None:
    addresses = ["127.0.0.1", "2001:db8::1"]
    names_lead_to(*(addresses if first == "IPv4" else reversed(addresses)), port=closed_port)
    assert_found(examine(settings_for(closed_port)), "TCP", "connection_refused")


def test_a_server_with_ipv6_alone_cannot_be_reached_without_it(no_ipv6: None, names_lead_to: Callable[..., None]) -> None:
    names_lead_to("2001:db8::1", "2001:db8::2", port=587)
    assert_found(examine(settings_for(587)), "TCP", "ipv6_unreachable")


def test_there_is_no_way_to_the_server(monkeypatch: pytest.MonkeyPatch, names_lead_to: Callable[..., None]) -> None:
    monkeypatch.setattr(socket.socket, "connect", _no_route)
    names_lead_to("192.0.2.1", "2001:db8::1", port=587)
    assert_found(examine(settings_for(587)), "TCP", "unreachable")


def test_an_address_of_a_protocol_that_this_machine_does_not_speak_is_passed_over() -> None:
    with FaultyServer() as server:
        foreign = Address(socket.AF_UNSPEC, ("2001:db8::1", 587, 0, 0))
        with connect_any([foreign, Address(socket.AF_INET, ("127.0.0.1", server.port))]) as connection:
            assert connection.getpeername() == ("127.0.0.1", server.port)


@pytest.fixture
def no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a route to the IPv6 internet."""
    connect = socket.socket.connect
    monkeypatch.setattr(
        socket.socket, "connect", lambda sock, to: (_no_route if sock.family == socket.AF_INET6 else connect)(sock, to)
    )


def _no_route(sock: socket.socket, to: Any) -> None:
    raise OSError(errno.ENETUNREACH, "Network is unreachable")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name_not_found"),
        (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), "name_not_found"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "name_servers_silent"),
    ],
)
def test_a_name_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch, error: OSError, code: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    findings = examine(settings_for(587, server="smtp.acme.example"), for_operator=True)
    assert_found(findings, "name", code)
    assert findings[-1].evidence == error.strerror


@pytest.mark.parametrize("server", ["a..b", f"{'x' * 70}.example"])
def test_a_name_that_is_none_cannot_be_resolved(server: str) -> None:
    assert_found(examine(settings_for(587, server=server), for_operator=True), "name", "name_not_found")


def test_name_servers_give_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emailconfig.connection.networks, "RESOLVE_SECONDS", 0.2)
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60))
    assert_found(examine(settings_for(587, server="smtp.acme.example")), "name", "name_servers_silent")
    over.set()


def test_a_page_never_tells_a_name_that_is_unknown_from_one_that_leads_inside(
    names_lead_to: Callable[..., None], settings: Settings
) -> None:
    settings.SMTP_ALLOWED_NETWORKS = []
    findings = set()
    for addresses, exactly in (
        ([], "name_not_found"),
        (["127.0.0.9"], "address_refused"),
        (["192.0.2.1", "169.254.169.254"], "address_refused"),
        (["fec0::1"], "address_refused"),
    ):
        names_lead_to(*addresses, port=587)
        named = settings_for(587, server="inside.acme.example")
        findings |= {repr(replace(finding, ms=0)) for finding in examine(named)}
        assert_found(examine(named, for_operator=True), "name", exactly)
    assert findings == {repr(Finding("name", False, 0, "", "name_not_usable", *EXPLANATIONS["name_not_usable"][:2]))}


@pytest.mark.parametrize(("addresses", "exactly"), [([], "token_server_not_found"), (["192.0.2.1"], "token_server_refused")])
def test_the_same_is_said_of_a_token_servers_name(
    names_lead_to: Callable[..., None], settings: Settings, addresses: list[str], exactly: str
) -> None:
    settings.SMTP_DENIED_NETWORKS = [ip_network("192.0.2.0/24")]
    by_token = settings_for(587, authentication="oauth2", token_url="https://login.acme.example/token")
    names_lead_to(*addresses, port=443)
    for for_operator, code in ((False, "name_not_usable"), (True, exactly)):
        with pytest.raises(ConnectionFailure) as trouble:
            request_token(by_token)
        sentence = trouble.value.for_operator if for_operator else trouble.value
        assert sentence is not None
        assert (sentence.step, sentence.code, sentence.needs_a_person) == ("token", code, code == "token_server_refused")


def test_an_address_that_was_typed_is_answered_exactly() -> None:
    assert_found(examine(settings_for(587, server="255.255.255.255")), "name", "address_refused")


def test_a_connection_that_is_gone_before_tls_starts_was_dropped() -> None:
    with pytest.raises(ConnectionFailure) as trouble, diagnosing("STARTTLS"), socket.socket() as sock:
        sock.getpeername()  # as TLS asks first, after an RST
    assert trouble.value.code == "dropped"


# --- Servers that are well


def test_a_server_that_is_well_is_asked_and_gets_no_mail(smtp_server: SmtpServer) -> None:
    reported: list[Finding] = []
    findings = examine(settings_for(smtp_server.port, authentication="none"), RECIPIENT, reported.append)
    assert is_healthy(findings)
    assert [step.step for step in findings] == ["name", "TCP", "greeting", "EHLO", "MAIL FROM", "RCPT TO", "RSET"]
    assert reported == [step for finding in findings for step in (Finding(finding.step), finding)]
    assert smtp_server.arrived == []


@pytest.mark.parametrize(
    ("security", "from_the_start", "steps"),
    [("starttls", False, ["greeting", "EHLO", "STARTTLS", "AUTH"]), ("tls", True, ["TLS", "greeting", "EHLO", "AUTH"])],
)
def test_over_tls_the_certificate_is_shown_and_the_secret_is_not(
    forger: Forger, security: str, from_the_start: bool, steps: list[str]
) -> None:
    with FaultyServer(tls=forger.context("good"), tls_from_the_start=from_the_start) as server:
        findings = examine(settings_for(server.port, server="localhost", security=security, ca_certificate=forger.pem))
    assert is_healthy(findings)
    assert [finding.step for finding in findings] == ["name", "TCP", *steps, "MAIL FROM", "RSET"]
    assert "Certificate for localhost; issued by Test authority; valid until" in repr(findings)
    assert server.commands[-3:] == ["AUTH", "MAIL", "RSET"]
    assert CANARY in base64.b64decode(server.heard[-3].split()[-1]).decode()
    assert_no_secret_in(repr(findings))


def test_a_certificate_that_signed_itself_is_accepted_when_it_is_entered_as_advised(tmp_path: Path) -> None:
    itself = SelfSigned(tmp_path)
    with FaultyServer(tls=itself.forged()) as server:
        pem = (tmp_path / "forged.pem").read_text().partition("-----BEGIN PRIVATE")[0]
        findings = examine(settings_for(server.port, server="localhost", security="starttls", ca_certificate=pem))
    assert is_healthy(findings)


def test_a_server_without_8bitmime_is_well_and_the_doctor_says_what_it_means(forger: Forger) -> None:
    with FaultyServer(tls=forger.context("good"), offers=()) as server:
        values = {"server": "localhost", "security": "starttls", "ca_certificate": forger.pem, "authentication": "none"}
        findings = examine(settings_for(server.port, **values))
    assert is_healthy(findings)
    (remark,) = [finding for finding in findings if finding.code != "ok"]
    explanation = EXPLANATIONS["no_8bitmime"]
    assert (remark.step, remark.code) == ("MAIL FROM", "no_8bitmime")
    assert (remark.cause, remark.next) == (explanation.cause, explanation.advice)


def test_an_old_server_that_knows_only_helo_will_do() -> None:
    with FaultyServer({"EHLO": "502 5.5.1 Command not implemented"}) as server:
        assert is_healthy(examine(settings_for(server.port, authentication="none")))
    assert server.commands == ["EHLO", "HELO", "MAIL", "RSET"]


@pytest.mark.parametrize(
    "addresses", [{"sender": "grüße@acme.example"}, {"recipient": "jürgen@example.com"}, {"recipient": "用户@例子.example"}]
)
def test_addresses_outside_ascii_are_asked_for_as_delivery_sends_them(addresses: dict[str, str]) -> None:
    sender, recipient = addresses.get("sender", "no-reply@acme.example"), addresses.get("recipient", RECIPIENT)
    with FaultyServer(offers=("SMTPUTF8",)) as server:
        assert is_healthy(examine(settings_for(server.port, authentication="none", sender_address=sender), recipient))
    assert server.heard[1] == f"MAIL FROM:<{sender}> SMTPUTF8"
    with FaultyServer() as server:
        findings = examine(settings_for(server.port, authentication="none", sender_address=sender), recipient)
    assert_found(findings, "MAIL FROM", "smtputf8_missing")
    assert server.commands == ["EHLO"]


def test_a_domain_outside_ascii_needs_no_smtputf8() -> None:
    with FaultyServer() as server:
        assert is_healthy(examine(settings_for(server.port, authentication="none"), "info@bücher.example"))
    assert server.heard[-2] == "RCPT TO:<info@xn--bcher-kva.example>"


# --- Time, and words


@pytest.mark.parametrize("step", ["greeting", "EHLO", "AUTH", "MAIL", "RSET"])
def test_all_steps_together_end_in_time(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setattr(emailconfig.doctor.examination, "TOTAL_SECONDS", 0.6)
    with FaultyServer({step: drip}) as server:
        findings = examine(settings_for(server.port))
    assert findings[-1].code == "too_slow"  # had it listened to the end, it would say that the server left


def test_a_server_speaks_for_itself_from_its_first_letter_on() -> None:
    """smtplib takes the first four for a code, whatever they are."""
    with FaultyServer({"greeting": "HTTP/1.1 400 Bad Request"}) as server:
        assert examine(settings_for(server.port))[-1].evidence == "← HTTP/1.1 400 Bad Request"


def test_a_password_that_looks_like_a_reply_does_no_harm() -> None:
    with FaultyServer() as server:
        assert is_healthy(examine(settings_for(server.port, new_secret="250"), RECIPIENT))
