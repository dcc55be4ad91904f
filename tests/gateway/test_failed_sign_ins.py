"""Guessers at the gateway, and the apps beside them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from gateway.failed_sign_ins import count_failed_sign_in
from organization.credentials import NewCredential, create_credential
from organization.models import Credential, FailureCount
from outbox.models import Message
from tests.support.gateway_client import Client, gateway_thread
from tests.support.portal import OPERATOR, configure, mail

HERE, ELSEWHERE = "192.0.2.7", "198.51.100.7"
WRONG, TOO_MANY = "535 5.7.8 Authentication credentials invalid", "421 4.7.0 Too many failed sign-ins; try again later"


@pytest.fixture
def credential(crm, qa) -> NewCredential:
    return create_credential(crm, qa, OPERATOR)


@pytest.fixture
def gateway(transactional_db, credential) -> Iterator[int]:
    with gateway_thread() as port:
        yield port


def wrong_sign_in(client: Client, username: str) -> str:
    return client.say("AUTH PLAIN " + base64.b64encode(f"\0{username}\0wrong".encode()).decode())


def test_five_failures_end_a_connection(gateway, credential):
    with Client(gateway) as client:
        client.say("EHLO client.example")
        assert [wrong_sign_in(client, credential.credential.username) for _ in range(5)] == [WRONG] * 5
        assert client.hear() == TOO_MANY
        assert client.hear() == ""
    with Client(gateway) as client:  # the next connection has no failures left
        client.say("EHLO client.example")
        assert wrong_sign_in(client, credential.credential.username) == WRONG
        assert client.hear() == TOO_MANY


def test_forty_apps_behind_one_address_keep_sending_while_one_of_them_fails(gateway, credential, qa):
    configure(qa)
    with ExitStack() as stack:
        apps = [stack.enter_context(Client(gateway)) for _ in range(40)]
        for number, app in enumerate(apps):
            if number < 30:  # far more than may fail
                with Client(gateway) as failing:
                    failing.say("EHLO failing.example")
                    assert wrong_sign_in(failing, f"guessed-{number}") == WRONG
            app.sign_in(credential)
            app.begin_mail()
            app.socket.sendall(mail() + b".\r\n")
            assert app.hear().startswith("250")
    assert Message.objects.count() == 40


def test_what_waits_is_not_counted_again(credential):
    username = credential.credential.username
    failed = [count_failed_sign_in(username, HERE) for _ in range(8)]
    assert [sign_in.ends_connection for sign_in in failed] == [False] * 4 + [True] * 4
    assert set(FailureCount.objects.values_list("failures", flat=True)) == {5}
    assert not count_failed_sign_in(username, ELSEWHERE).ends_connection


def test_an_app_that_signed_in_from_there_today_does_not_count_toward_its_address(credential):
    from common.clock import database_now

    Credential.objects.update(last_used=database_now(), last_used_from=HERE)
    count_failed_sign_in(credential.credential.username, HERE)
    assert not FailureCount.objects.filter(name_digest="").exists()
    count_failed_sign_in(credential.credential.username, ELSEWHERE)
    assert FailureCount.objects.get(name_digest="").network == ELSEWHERE


def test_a_trusted_proxys_address_is_that_of_many_clients(credential, settings):
    settings.TRUSTED_PROXIES = [ip_network("192.0.2.7/32")]
    assert not any(count_failed_sign_in(credential.credential.username, HERE).ends_connection for _ in range(8))
    assert not FailureCount.objects.exists()


@pytest.mark.parametrize("username", ["unknown", "with\0nul", "my-secret-phrase"])
def test_an_unknown_username_is_not_logged(db, username):
    assert count_failed_sign_in(username, HERE) == ("unknown", False)
