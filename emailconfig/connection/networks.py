"""Resolve a server's name, check its addresses, and connect to one of them.

The check (address_rules) comes after resolution and covers every address of the name. The connection uses these same addresses,
so that a name can't resolve to another one a moment later.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from emailconfig.address_rules import IpAddress, is_allowed
from emailconfig.exceptions import AddressRefused, NameNotUsable, NameServersSilent

RESOLVE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
# Shared by all addresses of a name, so that trying them doesn't use up the time for the whole connection.
REACH_SECONDS = 20.0
# An unusable name always takes this long, so that the time reveals nothing about the internal network.
_REFUSAL_SECONDS = 1.0
_MOST_ADDRESSES = 6


@dataclass(frozen=True)
class Address:
    """A resolved address with its port, in the form that a socket takes."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def ip(self) -> IpAddress:
        return ipaddress.ip_address(str(self.sockaddr[0]).partition("%")[0])

    @property
    def is_ipv6(self) -> bool:
        return self.family == socket.AF_INET6

    def __str__(self) -> str:
        return f"[{self.ip}]" if self.is_ipv6 else str(self.ip)


def resolve(host: str, port: int) -> list[Address]:
    """All addresses of `host`, which are all allowed.

    Raises AddressRefused if `host` is an address, and NameNotUsable or NameServersSilent if it is a name.
    """
    if _is_ip_address(host):
        return _allowed_addresses(host, port)
    started = time.monotonic()
    try:
        return _allowed_addresses(host, port)
    except (AddressRefused, socket.gaierror) as reason:
        if isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_AGAIN:
            raise NameServersSilent(reason.strerror) from reason
        time.sleep(max(0.0, started + _REFUSAL_SECONDS - time.monotonic()))
        raise NameNotUsable(reason) from reason


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _allowed_addresses(host: str, port: int) -> list[Address]:
    addresses = [Address(family, sockaddr) for family, sockaddr in _looked_up(host, port)]
    if not all(is_allowed(address.ip) for address in addresses):
        raise AddressRefused
    return addresses


def reach(addresses: list[Address]) -> socket.socket:
    """Connect to the first address that answers.

    Raises the OSError of the last address that has a route, or else of the first one without.
    """
    tried = addresses[:_MOST_ADDRESSES]
    trouble = OSError(errno.EADDRNOTAVAIL, "The name has no address")
    for address in tried:
        try:
            return _connected(address, min(CONNECT_SECONDS, REACH_SECONDS / len(tried)))
        except OSError as error:
            if has_no_route(trouble) or not has_no_route(error):
                trouble = error
    raise trouble


def _connected(address: Address, seconds: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect(address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def has_no_route(error: OSError) -> bool:
    """Whether there is no route to the address.

    That is also so if this machine doesn't support its protocol, because IPv6 can be turned off.
    """
    return error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def _looked_up(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Call getaddrinfo() with a time limit, which it doesn't have itself."""
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.append(error)

    thread = threading.Thread(target=ask, name="resolving", daemon=True)
    thread.start()
    thread.join(RESOLVE_SECONDS)
    if not answers:
        raise NameServersSilent("No answer.")
    if isinstance(answers[0], UnicodeError):
        raise socket.gaierror(socket.EAI_NONAME, "The name can't be looked up") from answers[0]
    if isinstance(answers[0], Exception):
        raise answers[0]
    return [(family, sockaddr) for family, _, _, _, sockaddr in answers[0]]
