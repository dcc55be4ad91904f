"""Decide which addresses a stage's server and its token server may have.

The portal must not become a scanner of the network around it. docs/reference/settings.md says what may be reached, and
connection.networks asks here about each address of a name.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from django.conf import settings

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Metadata services, where clouds give credentials to every caller inside. Link-local addresses are refused anyway.
_METADATA = frozenset(
    ipaddress.ip_address(ip)
    for ip in (
        "169.254.169.254",
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # and its EKS
        "fd20:ce::254",  # Google over IPv6
        "168.63.129.16",  # Azure's agent
        "100.100.100.200",  # Alibaba
    )
)
# IPv6 addresses that represent an IPv4 address (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SPECIAL = (
    ipaddress.ip_network("0.0.0.0/8"),  # "this network": some systems take it for this machine
    ipaddress.ip_network("192.0.0.192/32"),  # Oracle's metadata
    ipaddress.ip_network("fec0::/10"),  # site-local, deprecated by RFC 3879
)
# Nothing is sent to it. Connecting a datagram socket only chooses a route.
_DISCARD_PORT = 9


def is_allowed(ip: IpAddress) -> bool:
    """Whether the portal may connect to this address.

    Public and private addresses are allowed, including 100.64.0.0/10. This machine's own addresses are allowed in DEBUG or when
    listed. Link-local, metadata and similar addresses are never allowed.
    """
    return all(_is_allowed_itself(address) for address in (ip, *_embedded(ip)))


def is_never_allowed(ip: IpAddress) -> bool:
    """Whether no setting can allow this address."""
    return any(_is_never_allowed_itself(address) for address in (ip, *_embedded(ip)))


def _is_allowed_itself(ip: IpAddress) -> bool:
    if _is_never_allowed_itself(ip) or _in(ip, settings.SMTP_DENIED_NETWORKS):
        return False
    if _in(ip, settings.SMTP_ALLOWED_NETWORKS):
        return True
    if _in(ip, _SPECIAL) or (ip.is_reserved and not ip.is_loopback and ip not in _NAT64):
        return False
    return settings.DEBUG or not is_own(ip)


def _is_never_allowed_itself(ip: IpAddress) -> bool:
    return ip in _METADATA or ip.is_link_local or ip.is_multicast or ip.is_unspecified


def is_own(ip: IpAddress) -> bool:
    """Whether it is this machine's own address, on any interface.

    The system connects to its own addresses from the same address.
    """
    if ip.is_loopback:
        return True
    try:
        with socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((str(ip), _DISCARD_PORT))
            return ipaddress.ip_address(probe.getsockname()[0]) == ip
    except OSError:  # no route, so that it isn't this machine
        return False


def _in(ip: IpAddress, networks: Iterable[IpNetwork]) -> bool:
    return any(ip in network for network in networks)


def _embedded(ip: IpAddress) -> list[IpAddress]:
    """The IPv4 addresses that are embedded in an IPv6 address."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    addresses: list[IpAddress | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64:
        addresses.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [address for address in addresses if address is not None]
