"""Which addresses a webhook may have: those of the internet, not those of the network that the service stands in."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

_TRANSLATED = IPv6Network("64:ff9b::/96")


class AddressNotAllowed(OSError):
    """An address that is the machine's own, of its network, or nobody's."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet; an IPv6 address that stands for an IPv4 one is what that is."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and (inner := _inner(found)) is not None:
        found = inner
    if isinstance(found, IPv6Address) and found.is_site_local:
        # Deprecated, and still somebody's own network where it is used.
        return False
    return found.is_global and not (found.is_multicast or found.is_reserved)


def _inner(address: IPv6Address) -> IPv4Address | None:
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


def public_socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket for a connection to an address that is public; `info` as from getaddrinfo.

    What is looked at is what is connected to: a name that is resolved twice may be two addresses. Raises AddressNotAllowed.
    """
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        # Which one it is, whoever wrote the name is not told: that would look names of this network up for them.
        raise AddressNotAllowed("it is not an address of the internet")
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made
