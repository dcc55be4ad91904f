"""Limit the gateway's open connections.

There are limits for all connections, for those of one address, and for clients that haven't signed in.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

import structlog
from django.conf import settings

from common.process import places_for_connections

log = structlog.get_logger(__name__)

# A client that has sent nothing for this long may be closed to make room for another.
SILENT_SECONDS = 1.0
# A limit that is reached is logged this often, with the number of connections that it has affected meanwhile.
LOGGED_EVERY_SECONDS = 60.0
_AT_MOST = 2000
_AT_LEAST = 8
TOO_MANY = "421 4.3.2 Too many connections; try again later"


class Client(Protocol):
    """A connection, as the limits see it."""

    @property
    def silent_since(self) -> float: ...

    @property
    def is_waited_for(self) -> bool: ...

    def hang_up(self, reply: str) -> None: ...

    def leave(self) -> None: ...


@dataclass(frozen=True)
class Limits:
    in_all: int
    per_address: int
    before_sign_in: int


def limits() -> Limits:
    """The limits of the settings.

    Without a setting, connections may use four fifths of the limit on file handles.
    """
    return Limits(
        settings.GATEWAY_MAX_CONNECTIONS or _default_in_all(),
        settings.GATEWAY_MAX_CONNECTIONS_PER_ADDRESS,
        settings.GATEWAY_MAX_UNAUTHENTICATED,
    )


def _default_in_all() -> int:
    handles, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    four_fifths = _AT_MOST if handles == resource.RLIM_INFINITY else handles * 4 // 5
    return max(_AT_LEAST, min(four_fifths, places_for_connections(), _AT_MOST))


class Connections:
    """The open connections.

    If there is no room for one more, the client that has been silent longest before sign-in is closed. A trusted proxy's
    connections come from many clients, so that they count only toward the limit for all.
    """

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits, self._now = limits, now
        self._open: dict[Client, str] = {}
        self._per_address: Counter[str] = Counter()
        self._strangers: set[Client] = set()
        self._log = SeldomLog(now)
        self._none = asyncio.Event()
        self._none.set()

    async def wait_until_none(self) -> None:
        await self._none.wait()

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, newcomer: Client, address: str) -> bool:
        """Count the newcomer if there is room for it, and return whether there is."""
        counts_in_all_only = is_trusted_proxy(address)
        if not counts_in_all_only and not self._admit_to_own_limits(address):
            return False
        if len(self._open) >= self._limits.in_all and not self._make_room("in all", address, self._strangers):
            return False
        self._open[newcomer] = address
        self._none.clear()
        if not counts_in_all_only:
            self._per_address[address] += 1
            self._strangers.add(newcomer)
        return True

    def _admit_to_own_limits(self, address: str) -> bool:
        if self._per_address[address] >= self._limits.per_address:
            neighbours = {client for client in self._strangers if self._open[client] == address}
            if not self._make_room("per address", address, neighbours):
                return False
        if len(self._strangers) >= self._limits.before_sign_in:
            return self._make_room("before sign-in", address, self._strangers)
        return True

    def signed_in(self, client: Client) -> None:
        self._strangers.discard(client)

    def remove(self, client: Client) -> None:
        """Stop counting a connection that is closed; removing it twice is no error."""
        address = self._open.pop(client, None)
        if address is not None and not is_trusted_proxy(address):
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]
        self._strangers.discard(client)
        if not self._open:
            self._none.set()

    def _make_room(self, limit: str, newcomer: str, candidates: Collection[Client]) -> bool:
        """Close the candidate that has been silent longest, if there is one."""
        self._log.warning("gateway_connections_limited", limit=limit, client=newcomer, open=len(self._open))
        before = self._now() - SILENT_SECONDS
        silent = [client for client in candidates if client.is_waited_for and client.silent_since <= before]
        if not silent:
            return False
        oldest = min(silent, key=lambda client: client.silent_since)
        self.remove(oldest)
        oldest.hang_up(TOO_MANY)
        return True


def is_trusted_proxy(address: str) -> bool:
    """Whether the address is a proxy's, so that many clients may connect from it.

    A network of all addresses names no proxy, and neither does a local socket.
    """
    networks = [network for network in settings.TRUSTED_PROXIES if getattr(network, "prefixlen", 0)]
    return any(ip_address(address) in network for network in networks)


def plain_address(host: str) -> str:
    """A client's address in its plain form.

    If the gateway listens on IPv6, an IPv4 address arrives as `::ffff:192.0.2.1`.
    """
    return str(getattr(ip_address(host), "ipv4_mapped", None) or host)


class SeldomLog:
    """Log each event and limit at most once a minute.

    The next line says how many occurred since the last one.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._next: dict[tuple[str, str], float] = {}
        self._unsaid: Counter[tuple[str, str]] = Counter()

    def warning(self, event: str, *, limit: str, **facts: object) -> None:
        key = (event, limit)
        if self._now() < self._next.get(key, 0.0):
            self._unsaid[key] += 1
            return
        self._next[key] = self._now() + LOGGED_EVERY_SECONDS
        log.warning(event, limit=limit, **facts, more_since_last_line=self._unsaid.pop(key, 0))
