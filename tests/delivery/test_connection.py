"""The connection to the stage's server: verified, or no mail and no sign-in at all."""

from __future__ import annotations

import pytest

from delivery.models import StageBackoff
from organization.models import Stage
from outbox.models import Status
from tests.support.certificates import Authority
from tests.support.outbox import deliver, send
from tests.support.portal import configure
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path)


def with_password(stage: Stage, server: SmtpServer, security: str, authority: str) -> None:
    """The stage signs in to a server that is called localhost and must prove it."""
    secret = {"authentication": "basic", "username": "portal", "new_secret": "secret"}
    configure(stage, server, server="localhost", security=security, ca_certificate=authority, **secret)


@pytest.mark.parametrize(("security", "implicit"), [("starttls", False), ("tls", True)])
def test_mail_and_sign_in_go_over_verified_tls(crm, qa, authority, security, implicit):
    context = authority.server_context("localhost")
    with SmtpServer(tls=context, implicit_tls=implicit, users={"portal": "secret"}) as server:
        with_password(qa, server, security, authority.pem)
        send(crm, qa)
        deliver()
        (arrived,) = server.arrived
        assert arrived.tls
        assert arrived.login == "portal"


@pytest.mark.parametrize(("security", "implicit"), [("starttls", False), ("tls", True)])
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("unknown authority", "certificate_unknown_authority"),
        ("wrong host", "certificate_wrong_name"),
        ("expired", "certificate_expired"),
    ],
)
def test_a_certificate_that_cannot_be_verified_pauses_the_stage_and_no_secret_leaves(
    crm, qa, authority, tmp_path, security, implicit, fault, says
):
    name = "other.test" if fault == "wrong host" else "localhost"
    context = authority.server_context(name, expired=fault == "expired")
    with SmtpServer(tls=context, implicit_tls=implicit, users={"portal": "secret"}) as server:
        with_password(qa, server, security, "" if fault == "unknown authority" else authority.pem)
        message = send(crm, qa)
        deliver()
        queue = StageBackoff.objects.get(stage=qa)
        assert (queue.step, queue.code) == ("TLS" if implicit else "STARTTLS", says)
        assert queue.paused
        assert (server.arrived, server.logins) == ([], [])
        message.refresh_from_db()
        assert message.status == Status.QUEUED


def test_starttls_is_never_opportunistic(crm, qa):
    with SmtpServer(users={"portal": "secret"}) as server:
        configure(qa, server, security="starttls", authentication="basic", username="portal", new_secret="secret")
        send(crm, qa)
        deliver()
        assert StageBackoff.objects.get(stage=qa).code == "starttls_not_offered"
        assert (server.arrived, server.logins) == ([], [])


def test_security_and_port_that_do_not_belong_together_are_explained(crm, qa, authority):
    with SmtpServer(tls=authority.server_context("localhost")) as server:
        configure(qa, server, server="localhost", security="tls", ca_certificate=authority.pem)
        send(crm, qa)
        deliver()
        queue = StageBackoff.objects.get(stage=qa)
        assert queue.code == "no_tls_from_the_start"
