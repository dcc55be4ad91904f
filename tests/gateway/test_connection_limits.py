"""How many connections the gateway keeps open, and who gives way when there are too many."""

from __future__ import annotations

import asyncio
import resource
from ipaddress import ip_network

import pytest

from gateway.connection_limits import LOGGED_EVERY_SECONDS, SILENT_SECONDS, Connections, Limits, limits, plain_address
from gateway.server import OutOfFiles

HERE, ELSEWHERE, PROXY = "192.0.2.1", "192.0.2.2", "198.51.100.7"


class Connection:
    """As much of one as the limits look at."""

    def __init__(self, since: float) -> None:
        self.silent_since = since
        self.is_waited_for = True
        self.heard: list[str] = []

    def hang_up(self, reply: str) -> None:
        self.heard.append(reply)

    def leave(self) -> None:
        raise NotImplementedError


class Gateway:
    def __init__(self, in_all: int = 100, per_address: int = 100, before_sign_in: int = 100) -> None:
        self.now = 1000.0
        self.connections = Connections(Limits(in_all, per_address, before_sign_in), lambda: self.now)

    def connect(self, address: str = HERE, *, signed_in: bool = False) -> Connection | None:
        """None where there was no room. Each comes a second after the last."""
        self.now += SILENT_SECONDS
        newcomer = Connection(self.now)
        if not self.connections.admit(newcomer, address):
            return None
        if signed_in:
            self.connections.signed_in(newcomer)
        return newcomer


def test_before_sign_in_the_client_that_was_silent_for_longest_gives_way():
    gateway = Gateway(before_sign_in=2)
    first, second = gateway.connect(), gateway.connect(ELSEWHERE)
    first.silent_since = gateway.now + SILENT_SECONDS / 2  # it has just said something
    assert gateway.connect(ELSEWHERE)
    assert (first.heard, second.heard) == ([], ["421 4.3.2 Too many connections; try again later"])


def test_who_has_signed_in_or_waits_for_an_answer_never_gives_way():
    gateway = Gateway(in_all=2)
    signed_in, checked = gateway.connect(signed_in=True), gateway.connect()
    checked.is_waited_for = False
    assert gateway.connect() is None
    checked.is_waited_for = True
    assert gateway.connect()
    assert (signed_in.heard, len(checked.heard)) == ([], 1)


def test_clients_that_come_at_one_moment_do_not_show_each_other_out():
    gateway = Gateway(before_sign_in=1)
    newest = gateway.connect()
    newest.silent_since = gateway.now + SILENT_SECONDS
    assert gateway.connect() is None
    assert newest.heard == []


def test_one_address_takes_no_place_from_another():
    gateway = Gateway(per_address=2)
    stranger = gateway.connect(ELSEWHERE)
    assert gateway.connect(signed_in=True)
    assert gateway.connect(signed_in=True)
    assert gateway.connect() is None
    assert gateway.connect(ELSEWHERE)
    assert stranger.heard == []


def test_a_closed_connection_leaves_its_place():
    gateway = Gateway(per_address=1)
    only = gateway.connect(signed_in=True)
    for _ in range(2):  # aiosmtpd tells of some ends twice
        gateway.connections.remove(only)
    assert gateway.connect(signed_in=True)
    assert gateway.connect(signed_in=True) is None


def test_a_trusted_proxys_connections_count_in_all_only(settings):
    settings.TRUSTED_PROXIES = [ip_network("198.51.100.0/24")]
    gateway = Gateway(in_all=4, per_address=1, before_sign_in=1)
    assert all(gateway.connect(PROXY) for _ in range(4))
    assert gateway.connect(PROXY) is None


def test_trust_in_everyone_lifts_no_limit(settings):
    settings.TRUSTED_PROXIES = [ip_network("0.0.0.0/0"), ip_network("::/0"), "unix"]
    gateway = Gateway(per_address=1)
    assert gateway.connect(signed_in=True)
    assert gateway.connect() is None


def test_a_limit_that_is_reached_is_logged_once_a_minute(caplog):
    gateway = Gateway(in_all=0)
    assert [gateway.connect() for _ in range(30)] == [None] * 30
    gateway.now += LOGGED_EVERY_SECONDS
    gateway.connect()
    lines = [record.getMessage() for record in caplog.records]
    assert ["more_since_last_line=0" in lines[0], "more_since_last_line=29" in lines[1], len(lines)] == [True, True, 2]


def test_want_of_file_handles_is_logged_once_a_minute_too(caplog):
    """asyncio tells of each listener's every try."""
    loop = asyncio.new_event_loop()
    handler = OutOfFiles(loop)
    for _ in range(100):
        error = OSError(24, "Too many open files")
        handler(loop, {"message": "socket.accept() out of system resource", "exception": error})
    loop.close()
    assert ["Too many open files" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(("files", "in_all"), [(64, 16), (1024, 819), (20_000, 2000), (resource.RLIM_INFINITY, 2000), (20, 8)])
def test_without_a_setting_the_file_limit_decides(monkeypatch, files, in_all):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert limits() == Limits(in_all, per_address=500, before_sign_in=200)


def test_an_ipv4_client_has_one_address_on_every_listener():
    assert [plain_address(host) for host in ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1")] == [
        "192.0.2.1", "192.0.2.1", "2001:db8::1"
    ]  # fmt: skip
