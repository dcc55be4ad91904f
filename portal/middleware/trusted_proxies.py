"""The client and scheme of a request. Only the proxies in TRUSTED_PROXIES are believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import structlog
from django.conf import settings
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django_structlog.signals import bind_extra_request_metadata

from portal.environment import UNIX_SOCKET

_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO")

Proxies = Sequence[IPv4Network | IPv6Network | str]


class TrustedProxiesMiddleware:
    """Sets REMOTE_ADDR to the client's address that a trusted proxy gives, and ignores the headers of all others."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        proxies: Proxies = settings.TRUSTED_PROXIES
        peer = request.META.get("REMOTE_ADDR", "")
        if is_trusted(peer, proxies):
            hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
            request.META["REMOTE_ADDR"] = client_address(peer, [hop.strip() for hop in hops if hop.strip()], proxies)
        else:
            for name in _FORWARDED:
                request.META.pop(name, None)
        return self.get_response(request)


@receiver(bind_extra_request_metadata)
def _bind_client_address(request: HttpRequest, **_: Any) -> None:
    """Bind the client's address for the log. django-structlog would believe every client's headers."""
    structlog.contextvars.bind_contextvars(ip=request.META.get("REMOTE_ADDR"))


def client_address(peer: str, hops: Sequence[str], proxies: Proxies) -> str:
    """Return the nearest address that isn't a trusted proxy's. The client may have made up the addresses to the left of it."""
    nearest = peer
    for hop in reversed(hops):
        if not _is_address(hop):
            break
        nearest = hop
        if not is_trusted(hop, proxies):
            break
    return nearest


def is_trusted(address: str, proxies: Proxies) -> bool:
    if not address:
        return UNIX_SOCKET in proxies
    if not _is_address(address):
        return False
    ip = ip_address(address)
    return any(ip in network for network in proxies if not isinstance(network, str))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
