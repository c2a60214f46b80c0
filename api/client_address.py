"""Where a request comes from: the other end of the connection, or, behind a proxy that is trusted, who that says it is."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp import web

_MOST_HOPS = 20


class Proxies:
    """The networks of the proxies in front. Nobody else's `X-Forwarded-For` is believed."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Raises ValueError for what is no network."""
        self.networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(text) for text in networks)

    def trusted(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether it is one of the proxies'."""
        return any(address.version == network.version and address in network for network in self.networks)

    def client(self, peer: str | None, forwarded: list[str]) -> str | None:
        """The client's address. Proxies write theirs to the right, so the first from there that is none of them is it."""
        address = None if peer is None else _address(peer)
        if address is None or not self.trusted(address):
            return peer
        hops = [hop for line in forwarded for hop in line.split(",")]
        for hop in reversed(hops[-_MOST_HOPS:]):
            before = _address(hop.strip())
            if before is None:
                # What stands left of it was written by whoever wrote this.
                break
            address = before
            if not self.trusted(address):
                break
        return str(address)


PROXIES = web.AppKey("proxies", Proxies)
"""Where the application holds them."""


def client_address(request: web.Request) -> str | None:
    """The address that a request counts for, everywhere: in limits, attempts to sign in and the audit trail. None on a Unix socket."""
    peer = request.remote or None
    proxies = request.config_dict.get(PROXIES)
    if proxies is None or not proxies.networks:
        return peer
    return proxies.client(peer, request.headers.getall("X-Forwarded-For", []))


@lru_cache(maxsize=4_096)
def neighbourhood(address: str | None) -> str:
    """What shares a limit: an IPv4 address, or the /64 of an IPv6 one, in which a host may have any number of addresses."""
    found = None if address is None else _address(address)
    if found is None:
        return address or ""
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else str(found)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, without a port; an IPv4 one that came in IPv6's clothes is what it is."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
