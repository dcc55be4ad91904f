"""Where a guess comes from."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from django.http import HttpRequest

_IPV6_PREFIX_BITS = 64


def client_of(request: HttpRequest | None) -> str:
    """The client's IP address. Empty for a command, and for a local socket whose proxy isn't trusted.

    TrustedProxiesMiddleware has put the address there that a trusted proxy names.
    """
    return str(request.META.get("REMOTE_ADDR", "")) if request is not None else ""


def network_of(client: str) -> str:
    """What counts as one address: an IPv4 address, or all IPv6 addresses of one /64, which one customer gets."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    host_bits = address.max_prefixlen - _IPV6_PREFIX_BITS
    return f"{IPv6Address(int(address) >> host_bits << host_bits)}/{_IPV6_PREFIX_BITS}"
