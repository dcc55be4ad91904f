"""Where a connection may go: decided on what a name resolves to, and then gone to just there."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

import emailconfig.connection.networks
from emailconfig.address_rules import is_allowed, is_own
from emailconfig.connection import ConnectionFailure, connect
from emailconfig.connection.networks import resolve
from emailconfig.exceptions import AddressRefused, NameNotUsable, NameServersSilent
from emailconfig.models import SmtpSettings
from organization.models import Stage
from tests.support.servers.faulty_servers import FaultyServer

METADATA = ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200"]


@pytest.fixture(autouse=True)
def nothing_listed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an operator finds it, and without the second that a refusal takes."""
    monkeypatch.setattr(emailconfig.connection.networks, "_REFUSAL_SECONDS", 0.0)
    settings.DEBUG, settings.SMTP_ALLOWED_NETWORKS, settings.SMTP_DENIED_NETWORKS = False, [], []


def nat64(ip: str) -> str:
    return f"64:ff9b::{ip}"


def mapped(ip: str) -> str:
    return f"::ffff:{ip}"


def six_to_four(ip: str) -> str:
    return f"2002:{int(ip_address(ip)) >> 16:x}:{int(ip_address(ip)) & 0xFFFF:x}::1"


def teredo_server(ip: str) -> str:
    return f"2001:0:{int(ip_address(ip)) >> 16:x}:{int(ip_address(ip)) & 0xFFFF:x}::1"


def teredo_client(ip: str) -> str:
    """The client's address stands in it with every bit turned round; the server is a public one."""
    turned = int(ip_address(ip)) ^ 0xFFFFFFFF
    return f"2001:0:808:808::{turned >> 16:x}:{turned & 0xFFFF:x}"


EMBEDDINGS = [nat64, mapped, six_to_four, teredo_server, teredo_client]


@pytest.mark.parametrize(
    "ip",
    [
        *("8.8.8.8", "193.0.6.139", "2001:4860:4860::8888", "2a00:1450::1"),  # public
        *("10.0.0.5", "172.16.0.1", "192.168.1.25", "fd12:3456::25", "fd00:ec2::253"),  # private
        *("100.64.0.1", "100.127.255.254"),  # carrier-grade NAT
        *(nat64("8.8.8.8"), nat64("10.0.0.5"), six_to_four("8.8.8.8"), teredo_client("8.8.8.8")),
    ],
)
def test_servers_outside_and_in_the_own_network_are_allowed(ip: str) -> None:
    assert is_allowed(ip_address(ip))


@pytest.mark.parametrize(
    "ip",
    [
        *("127.0.0.1", "127.1.2.3", "127.255.255.255", "::1"),
        *METADATA,
        *("169.254.0.1", "169.254.170.2", "fe80::1", "fe80::a9fe:a9fe"),  # link-local
        *("0.0.0.0", "0.0.0.1", "0.255.255.255", "::", "::127.0.0.1"),
        *("192.0.0.192", "fec0::1", "feff::1"),  # Oracle's metadata, site-local
        *("224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"),  # multicast
        *("255.255.255.255", "240.0.0.1"),  # broadcast, and what nobody has
    ],
)
def test_this_machine_and_what_is_no_server_is_refused(ip: str) -> None:
    assert not is_allowed(ip_address(ip))


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_allowed_in_debug_or_when_it_is_listed(settings: Settings, ip: str) -> None:
    settings.DEBUG = True
    assert is_allowed(ip_address(ip))
    settings.DEBUG, settings.SMTP_ALLOWED_NETWORKS = False, [ip_network("127.0.0.0/8"), ip_network("::1/128")]
    assert is_allowed(ip_address(ip))
    settings.SMTP_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    assert is_allowed(ip_address(ip)) is (ip == "127.0.0.1")


@pytest.mark.parametrize("ip", [*METADATA, "169.254.0.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1"])
def test_some_addresses_are_refused_even_when_they_are_listed(settings: Settings, ip: str) -> None:
    settings.DEBUG, settings.SMTP_ALLOWED_NETWORKS = True, [ip_network(ip), ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert not is_allowed(ip_address(ip))


@pytest.mark.parametrize("ip", ["10.0.0.5", "8.8.8.8", "127.0.0.1", "fd12:3456::25", "2a00:1450::1"])
def test_denied_wins_over_allowed(settings: Settings, ip: str) -> None:
    settings.DEBUG, settings.SMTP_ALLOWED_NETWORKS = True, [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert is_allowed(ip_address(ip))
    settings.SMTP_DENIED_NETWORKS = [ip_network(ip)]
    assert not is_allowed(ip_address(ip))


@pytest.mark.parametrize("embedded_in", EMBEDDINGS)
@pytest.mark.parametrize("ip", ["127.0.0.1", "169.254.169.254", "168.63.129.16", "100.100.100.200", "0.0.0.0", "10.66.0.1"])
def test_ipv6_is_no_way_round(settings: Settings, ip: str, embedded_in: Callable[[str], str]) -> None:
    settings.SMTP_DENIED_NETWORKS = [ip_network("10.66.0.0/16")]
    assert not is_allowed(ip_address(embedded_in(ip)))
    settings.SMTP_ALLOWED_NETWORKS = [ip_network("::/0")]
    assert not is_allowed(ip_address(embedded_in(ip)))


def own_addresses() -> list[str]:
    """Those of all interfaces, as the kernel lists them, without loopback and link-local."""
    v4 = re.findall(r"\|-- ([\d.]+)\n */32 host LOCAL", Path("/proc/net/fib_trie").read_text())
    v6 = [str(IPv6Address(int(line[:32], 16))) for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    return [ip for ip in {*v4, *v6} if not ip_address(ip).is_loopback and not ip_address(ip).is_link_local]


def test_this_machines_own_addresses_are_refused_on_every_interface_unless_they_are_listed(settings: Settings) -> None:
    assert is_own(ip_address("127.0.0.1"))
    assert not is_own(ip_address("198.51.100.1"))
    for ip in own_addresses():
        assert not is_allowed(ip_address(ip)), ip
        with pytest.raises(AddressRefused):
            resolve(ip, 587)
        settings.SMTP_ALLOWED_NETWORKS = [ip_network(ip)]
        assert is_allowed(ip_address(ip)), ip
        settings.SMTP_ALLOWED_NETWORKS = []


@pytest.mark.parametrize("ip", ["0.1.2.3", "192.0.0.192", "fec0::25"])
def test_an_unusual_address_is_allowed_when_it_is_listed(settings: Settings, ip: str) -> None:
    settings.SMTP_ALLOWED_NETWORKS = [ip_network(ip)]
    assert is_allowed(ip_address(ip))


@pytest.mark.parametrize("spelling", ["0x7f000001", "2130706433", "127.1", "0177.0.0.1", "localhost", "::ffff:127.0.0.1"])
def test_a_spelling_is_decided_by_what_it_resolves_to(settings: Settings, spelling: str) -> None:
    with pytest.raises((AddressRefused, NameNotUsable)):
        resolve(spelling, 587)
    settings.SMTP_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("::ffff:0:0/96")]
    assert all(address.ip.is_loopback or address.ip.ipv4_mapped for address in resolve(spelling, 587))


def answering(monkeypatch: pytest.MonkeyPatch, *answers: list[str], port: int) -> list[str]:
    """Let the system's resolver answer with these addresses, one answer after the other.

    It repeats the last answer. Returns the names that it is asked for.
    """
    asked: list[str] = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        result = answers[min(len(asked), len(answers)) - 1]
        if not result:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in result]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def settings_for(server: str, port: int) -> SmtpSettings:
    settings = SmtpSettings(stage=Stage(key="qa"), server=server, port=port, security="none")
    settings.sender_address = "no-reply@acme.example"
    return settings


@pytest.mark.parametrize("addresses", [[], ["127.0.0.1"], ["169.254.169.254"], ["192.0.2.1", "10.66.0.1"]])
def test_a_refusal_tells_nothing_of_what_is_inside(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, closed_port: int, addresses: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the name exists, whether something listens there, and however fast it was found."""
    settings.SMTP_DENIED_NETWORKS = [ip_network("10.66.0.0/16")]
    answering(monkeypatch, addresses, port=closed_port)
    monkeypatch.setattr(emailconfig.connection.networks, "_REFUSAL_SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(ConnectionFailure) as refused:
        connect(settings_for("inside.acme.example", 587))
    assert time.monotonic() - started >= 0.5
    assert (refused.value.step, refused.value.code, refused.value.evidence) == ("name", "name_not_usable", "")
    assert not refused.value.needs_a_person
    assert ("address_refused" if addresses else "name_not_found") in caplog.text  # for the operator


def test_a_name_cannot_lead_elsewhere_after_it_was_checked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second answer would be another machine."""
    settings.SMTP_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    with FaultyServer() as server:
        asked = answering(monkeypatch, ["127.0.0.1"], ["169.254.169.254"], port=server.port)
        smtp = connect(settings_for("rebinding.example", 587))
        assert smtp.sock is not None
        assert smtp.sock.getpeername() == ("127.0.0.1", server.port)
        smtp.close()
        assert asked == ["rebinding.example"]
        with pytest.raises(ConnectionFailure, match="can't be used"):
            connect(settings_for("rebinding.example", 587))
    assert asked == ["rebinding.example"] * 2
    assert server.connections == 1


def test_name_servers_that_are_silent_are_not_waited_for_longer_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emailconfig.connection.networks, "RESOLVE_SECONDS", 0.2)
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60))
    with pytest.raises(NameServersSilent):
        resolve("smtp.acme.example", 587)
    over.set()
