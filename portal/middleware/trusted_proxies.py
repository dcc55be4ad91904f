"""Who a request comes from, and how: what a proxy says of that counts only from the proxies named in TRUSTED_PROXIES."""

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
    """Sets REMOTE_ADDR to the client's address as a trusted proxy tells it, and drops what anyone else says."""

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
    """For the log: django-structlog would believe every client's headers."""
    structlog.contextvars.bind_contextvars(ip=request.META.get("REMOTE_ADDR"))


def client_address(peer: str, hops: Sequence[str], proxies: Proxies) -> str:
    """The nearest address that isn't a trusted proxy's: what stands further left, the client may have written itself."""
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
