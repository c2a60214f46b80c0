"""What stands between the service and whoever calls it: limits, origins, proxies, times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from aiohttp import web

from api.client_address import Proxies
from api.cors import Cors
from api.limits.rates import Rates
from api.limits.sign_ins import SignIns

REQUEST_S = 60.0
"""How long the head of an answer may take."""


@dataclass(frozen=True)
class Edge:
    """The bounds of a process. `always` are headers of every answer; times in seconds."""

    rates: Rates = field(default_factory=Rates)
    sign_ins: SignIns = field(default_factory=SignIns)
    proxies: Proxies = field(default_factory=Proxies)
    cors: Cors = field(default_factory=Cors)
    always: Mapping[str, str] = field(default_factory=dict)
    request_s: float = REQUEST_S
    streams_per_credential: int = 20_000
    waiting_sockets_per_address: int = 100

    def headers(self, request: web.Request) -> dict[str, str]:
        """What an answer to it says besides what all services say."""
        return {**self.always, **self.cors.headers(request)}

    def lines(self, request: web.Request) -> str:
        """The same, as lines of a head."""
        return self._always_lines + self.cors.lines(request)

    @cached_property
    def _always_lines(self) -> str:
        return "".join(f"{name}: {value}\r\n" for name, value in self.always.items())
