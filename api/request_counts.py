"""The requests that this process has answered since it was last asked, by route, in log-scale bins of their time."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from aggregators.sketches import bin_of, bin_value

_SHORTEST_MS = 0.001
SERVER_ERROR = 500
"""From this status on the failure is ours."""


@dataclass(frozen=True)
class Answered:
    """So many requests to a route took about `ms` each (within 1 %); `errors` of them failed through our fault."""

    method: str
    route: str
    ms: float
    requests: int
    errors: int


@dataclass(frozen=True)
class Interval:
    """What was answered in an interval: by route and time, and in all, with the exact sum of the times."""

    answered: list[Answered]
    requests: int
    errors: int
    total_ms: float


class RequestCounts:
    """Counts in memory that does not grow with the number of requests: a number for each route and each of the bins it met.

    `total` is how many there were since the process started. Streams are left out: they last as long as their reader likes.
    """

    def __init__(self) -> None:
        self._bins: dict[tuple[str, str, int], list[int]] = {}
        self._total_ms = 0.0
        self.total = 0

    def answer(self, request: web.Request, response: web.StreamResponse, seconds: float) -> None:
        """One more was answered. The route's pattern stands for its paths, and one name for all that have no route."""
        if not isinstance(response, web.Response):
            return
        resource = request.match_info.route.resource
        method, route = (request.method, resource.canonical) if resource is not None else ("ANY", "none")
        self.count(method, route, response.status, seconds)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answer of that status after so many seconds."""
        ms = max(seconds * 1_000, _SHORTEST_MS)
        cell = self._bins.setdefault((method, route, bin_of(ms)), [0, 0])
        cell[0] += 1
        cell[1] += status >= SERVER_ERROR
        self._total_ms += ms
        self.total += 1

    def take(self) -> Interval:
        """What was answered since the last call."""
        bins, self._bins = self._bins, {}
        total_ms, self._total_ms = self._total_ms, 0.0
        answered = [
            Answered(method, route, bin_value(index), requests, errors)
            for (method, route, index), (requests, errors) in bins.items()
        ]
        return Interval(answered, sum(a.requests for a in answered), sum(a.errors for a in answered), total_ms)
