"""Postfix that asks Dovecot who may sign in (SASL), over STARTTLS with a certificate of an authority of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from delivery.models import StageQueue
from organization.models import AuditEvent
from outbox.models import Message, Status
from tests.interop.postfix import Postfix
from tests.interop.processes import Process
from tests.support.certificates import Authority
from tests.support.outbox import deliver, send, statuses
from tests.support.portal import configure, eventually, manage, manage_json

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]

PASSWORD = "kanarienvogel-9d1f4c"
# Not one of the relay's own domains: only who signed in may send there.
CUSTOMER = "customer@elsewhere.example"

_DOVECOT = """
base_dir = {folder}/run
log_path = {folder}/log
protocols =
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
service auth {{
  unix_listener {socket} {{
    mode = 0666
  }}
}}
"""
_MAIN = """
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_received_header = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {socket}
smtpd_sasl_authenticated_header = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
default_transport = virtual
"""
_MASTER = "tlsmgr unix - - n 1000? 1 tlsmgr\n"


class Relay(Postfix):
    """A Postfix that relays for whom `socket` lets in, and keeps what it would relay."""

    def __init__(self, folder: Path, authority: Authority, socket: Path) -> None:
        super().__init__(folder)
        certificate, key = authority.issue("localhost")
        with (self._config / "main.cf").open("a") as main, (self._config / "master.cf").open("a") as master:
            main.write(_MAIN.format(certificate=certificate, key=key, socket=socket))
            master.write(_MASTER)


@pytest.fixture
def dovecot(folder: Path) -> Iterator[Path]:
    """Where a private Dovecot answers, which knows nobody but `portal`."""
    home = folder / "dovecot"
    home.mkdir()
    (home / "users").write_text(f"portal:{{PLAIN}}{PASSWORD}\n")
    (home / "dovecot.conf").write_text(_DOVECOT.format(folder=home, socket=home / "auth"))
    process = Process("dovecot", "-F", "-c", str(home / "dovecot.conf"), output=home / "output")
    try:
        eventually(lambda: (home / "auth").is_socket() or process.process.poll() is not None)
        assert process.process.poll() is None, process.said
        yield home / "auth"
    finally:
        process.end()


@pytest.fixture
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture
def relay(folder: Path, authority: Authority, dovecot: Path) -> Iterator[Relay]:
    with Relay(folder, authority, dovecot) as server:
        yield server


@pytest.fixture
def settings_for(relay: Relay, authority: Authority) -> dict[str, Any]:
    """Of a stage that sends through the relay without a sign-in."""
    return {"server": "localhost", "port": relay.port, "security": "starttls", "ca_certificate": authority.pem}


def signed_in_with(password: str) -> dict[str, str]:
    return {"authentication": "basic", "username": "portal", "new_secret": password}


def last_step(*options: str) -> dict[str, Any]:
    """What check_smtp says of the step it failed at."""
    done = manage("check_smtp", "qa", *options)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    checked = manage("check_smtp", "qa", "--json", *options)
    assert PASSWORD not in done.stdout + done.stderr + checked.stdout + checked.stderr
    step: dict[str, Any] = json.loads(checked.stdout)["steps"][-1]
    assert step["cause"] in done.stdout
    assert step["next"] in done.stdout
    assert AuditEvent.objects.filter(operation="Test", status=AuditEvent.Status.FAILED).count() == 2
    return step


def test_who_signs_in_may_send_anywhere(crm, qa, relay, settings_for):
    configure(qa, from_domains="*", **settings_for, **signed_in_with(PASSWORD))
    checked = manage_json("check_smtp", "qa", "--to", CUSTOMER)
    assert checked["ok"]
    assert [step["step"] for step in checked["steps"]][-5:] == ["STARTTLS", "AUTH", "MAIL FROM", "RCPT TO", "RSET"]
    assert "Test authority" in next(step["evidence"] for step in checked["steps"] if step["step"] == "STARTTLS")
    assert relay.inbox == []
    messages = [send(crm, qa, CUSTOMER) for _ in range(3)]
    deliver()
    assert [statuses(message) for message in messages] == [{CUSTOMER: "sent"}] * 3
    eventually(lambda: len(relay.inbox) == 3)
    assert all(b"(Authenticated sender: portal)" in received and b"using TLSv1." in received for received in relay.inbox)
    assert not StageQueue.objects.filter(failures__gt=0).exists()


def test_a_wrong_password_pauses_the_stage_and_is_explained(crm, qa, relay, settings_for):
    configure(qa, from_domains="*", **settings_for, **signed_in_with("wrong"))
    for _ in range(3):
        send(crm, qa, CUSTOMER)
    deliver()
    queue = StageQueue.objects.get(stage=qa)
    assert (queue.paused, queue.failures, queue.step, queue.code) == (True, 1, "AUTH", "auth_refused")
    assert queue.evidence.startswith("535 5.7.8 Error: authentication failed")
    assert set(Message.objects.values_list("status", flat=True)) == {Status.QUEUED}
    assert relay.log.read_text().count("SASL PLAIN authentication failed") == 1
    step = last_step()
    assert (step["step"], step["code"]) == ("AUTH", "auth_refused")
    assert "535 5.7.8 Error: authentication failed" in step["evidence"]
    assert "Enter username and password again" in step["next"]
    configure(qa, new_secret=PASSWORD, **settings_for)
    deliver()
    eventually(lambda: len(relay.inbox) == 3)


def test_without_a_sign_in_relaying_is_denied_and_that_is_explained(crm, qa, relay, settings_for):
    configure(qa, from_domains="*", **settings_for)
    step = last_step("--to", CUSTOMER)
    assert (step["step"], step["code"]) == ("RCPT TO", "relay_denied")
    assert "Relay access denied" in step["evidence"]
    message = send(crm, qa, CUSTOMER, "own@example.com")
    deliver()
    assert statuses(message) == {CUSTOMER: "failed", "own@example.com": "sent"}
    assert "Relay access denied" in message.recipients.get(address=CUSTOMER).last_reply
    eventually(lambda: len(relay.inbox) == 1)


def test_no_password_goes_over_a_connection_without_tls_where_none_is_asked_for(crm, qa, relay, settings_for):
    configure(qa, **{**settings_for, "security": "none"}, **signed_in_with(PASSWORD))
    step = last_step()
    assert (step["step"], step["code"]) == ("AUTH", "auth_not_offered")
    assert "SASL" not in relay.log.read_text()


def test_an_authority_that_is_not_known_stops_before_the_password(crm, qa, relay, settings_for):
    configure(qa, **{**settings_for, "ca_certificate": ""}, **signed_in_with(PASSWORD))
    step = last_step()
    assert (step["step"], step["code"]) == ("STARTTLS", "certificate_unknown_authority")
    assert "SASL" not in relay.log.read_text()
