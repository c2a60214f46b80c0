"""What callers may ask for in a time: requests by credential and by address, events by organization. docs/limits.md tells of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple
from uuid import UUID

from aiohttp import web

from api.auth.principal import Principal
from api.client_address import client_address, neighbourhood
from api.errors import Problem
from api.limits.buckets import Buckets

EVENTS_AT_ONCE_S = 10.0
"""So many seconds' worth of events may come at once."""


class Limit:
    """One limit: buckets in which a request or an event is a token, and what its answers say."""

    def __init__(self, buckets: Buckets[Any], *, window_s: int, reached: str) -> None:
        self.buckets = buckets
        self.reached = reached
        self._capacity = int(buckets.capacity)
        self._policy = f"{self._capacity};w={window_s}"
        self._lines = f"RateLimit-Policy: {self._policy}\r\nRateLimit-Limit: {self._capacity}\r\nRateLimit-Remaining: "

    def headers(self, who: Hashable) -> dict[str, str]:
        """How much is left, and in how many seconds everything will be."""
        left = self.buckets.left(who)
        return {
            "RateLimit-Limit": str(self._capacity),
            "RateLimit-Remaining": str(max(0, int(left))),
            "RateLimit-Reset": str(math.ceil((self._capacity - left) / self.buckets.rate)),
            "RateLimit-Policy": self._policy,
        }

    def lines(self, who: Hashable) -> str:
        """The same as lines of a head, for answers of which every microsecond counts."""
        left = self.buckets.left(who)
        return (
            f"{self._lines}{int(left)}\r\nRateLimit-Reset: {math.ceil((self._capacity - left) / self.buckets.rate)}\r\n"
        )

    def refusal(self, who: Hashable, wait: float) -> Problem:
        """The answer to somebody who has to wait so many seconds."""
        return Problem(429, self.reached, headers={"Retry-After": str(max(1, math.ceil(wait))), **self.headers(who)})


class CountedFor(NamedTuple):
    """A request was held against this limit, as one of `who`."""

    limit: Limit
    who: Hashable


COUNTED_FOR = web.RequestKey("counted_for", CountedFor)
"""So that its answer tells how much is left."""


class Rates:
    """The limits of a process. 0 stands for none."""

    def __init__(
        self,
        *,
        requests_per_minute: int = 1_200_000,
        anonymous_requests_per_minute: int = 6_000,
        events_per_second: int = 500_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        def minutely(name: str, number: int, reached: str) -> Limit | None:
            return _limit(name, number / 60, number, 60, reached, clock)

        self.requests = minutely("requests", requests_per_minute, "too many requests with this credential")
        self.anonymous = minutely("anonymous", anonymous_requests_per_minute, "too many requests from this address")
        at_once = events_per_second * EVENTS_AT_ONCE_S
        reached = "too many events; send fewer, or send them later"
        self.events = _limit("events", events_per_second, at_once, int(EVENTS_AT_ONCE_S), reached, clock)

    def all(self) -> list[Buckets[Any]]:
        """The buckets of all limits that there are."""
        return [limit.buckets for limit in (self.requests, self.anonymous, self.events) if limit is not None]

    def admits(self, principal: Principal) -> bool:
        """Counts a request of somebody who was let in before; False, and not counted, where they have to wait."""
        return self.requests is None or self.requests.buckets.take(credential(principal)) == 0.0

    def lines(self, principal: Principal) -> str:
        """The lines of an answer's head that tell them how much is left."""
        return "" if self.requests is None else self.requests.lines(credential(principal))

    def request(self, request: web.Request, principal: Principal | None) -> None:
        """Counts a request of its caller, or of its address where there is none; raises Problem 429."""
        if principal is not None:
            self._take(request, self.requests, credential(principal))
        else:
            self._take(request, self.anonymous, neighbourhood(client_address(request)))

    def stranger(self, request: web.Request) -> None:
        """Raises Problem 429 for an address that may ask nothing more without a credential that is known; counts nothing."""
        if self.anonymous is not None:
            who = neighbourhood(client_address(request))
            wait = self.anonymous.buckets.wait(who)
            if wait > 0:
                raise self.anonymous.refusal(who, wait)

    def before_events(self, organization: UUID) -> None:
        """Raises Problem 429 for an organization in debt, before its body is read."""
        if self.events is not None and (wait := self.events.buckets.wait(organization)) > 0:
            raise self.events.refusal(organization, wait)

    def take_events(self, organization: UUID, events: int) -> None:
        """Counts events that are about to be published; raises Problem 429, and then none of them is."""
        if self.events is not None and (wait := self.events.buckets.take(organization, events)) > 0:
            raise self.events.refusal(organization, wait)

    def _take(self, request: web.Request, limit: Limit | None, who: Hashable) -> None:
        if limit is None:
            return
        wait = limit.buckets.take(who)
        if wait > 0:
            raise limit.refusal(who, wait)
        request[COUNTED_FOR] = CountedFor(limit, who)


def _limit(
    name: str, rate: float, capacity: float, window_s: int, reached: str, clock: Callable[[], float]
) -> Limit | None:
    if rate == 0:
        return None
    return Limit(Buckets(name, rate=rate, capacity=capacity, clock=clock), window_s=window_s, reached=reached)


def credential(principal: Principal) -> str | UUID:
    """An API key, or a person with all their tokens and sessions."""
    return principal.key or principal.account or principal.organization
