"""The response cache: what stands between a polling client and the database. docs/caching.md tells what it promises."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from uuid import UUID

import msgspec
from aiohttp import HttpVersion11, web

from api.auth.authenticate import LET_IN_UNTIL
from api.auth.principal import Principal
from api.cache.commit_mark import CommitMark
from api.cache.entry import Entry, Key, Variant
from api.cache.memory import Flight, Memory, Shortcut
from api.cache.ready import Ready
from api.cache.second_level import SecondLevel
from api.compression import coding
from api.freshness import COMPLETE, FRESHNESS, RECEIVED, known, stamp
from api.media import LONGEST, wanted
from api.routing import Handler, Route
from api.visibility import sight
from ingest.events import KINDS
from storage.database import Database
from storage.feed import Commit, positions

LIFE_S = 30.0
"""No answer is kept longer: what is no event changes it too (a time zone, a rebuilt rollup), and nobody tells of that."""
UNCONFIRMED_S = 2.0
"""For how long answers are given from memory without having heard from the database that nothing came."""
_LONGEST_PATH = 2_048
_LARGEST_ALIAS = 4_096

_LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Settled(web.Response):
    """An answer of which coding and condition are settled."""


@dataclass(frozen=True, slots=True)
class Reading:
    """When a reading of the feed began: what was complete by then, and the time on the monotonic clock."""

    complete: dt.datetime
    began: float


class CacheHealth(msgspec.Struct):
    """Whether answers are kept now: `ok` or `down`; of Redis behind them the same, null where there is none."""

    status: str
    redis: str | None = None


class ResponseCache:
    """Answers requests of cached routes. It hears of commits as a follower of the hub (api.stream.hub.Follower).

    `mark` is there where several processes serve one port; `second` where there is Redis.
    """

    def __init__(
        self,
        database: Database,
        *,
        most_bytes: int = 64 * 1024 * 1024,
        most_entries: int = 10_000,
        second: SecondLevel | None = None,
        mark: CommitMark | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._complete: Callable[[], dt.datetime] | None = None
        self._clock = clock
        self._mark = mark
        self._confirmed = _LONG_AGO
        self._confirmed_text = stamp(_LONG_AGO)
        self._good_until = float("-inf")
        self.memory = Memory(most_bytes=most_bytes, most_entries=most_entries)
        self.second = second
        self.hits = 0
        self.misses = 0

    # What the feed tells.

    def begin(self, complete: Callable[[], dt.datetime]) -> None:
        """Begins to keep answers. `complete`: what was accepted before that time is in all that is read from now on (api.reception)."""
        self._complete = complete

    def reading(self) -> Reading:
        """The feed is about to be read."""
        return Reading(_LONG_AGO if self._complete is None else self._complete(), self._clock())

    def read(self, reading: Reading) -> None:
        """The feed was read to its end: what was complete when that began is in every answer that is still kept."""
        if reading.complete != self._confirmed:
            self._confirmed, self._confirmed_text = reading.complete, stamp(reading.complete)
        self._good_until = reading.began + UNCONFIRMED_S

    def commits(self, commits: Sequence[Commit]) -> None:
        """These were committed, by whichever process."""
        for organization, kind in {(commit.organization, commit.kind) for commit in commits}:
            self.memory.invalidate(organization, kind)

    def gap(self) -> None:
        """Commits may have been missed."""
        self._good_until = float("-inf")
        self.memory.clear()

    # What this process does itself.

    def committed(self, organization: UUID, kinds: Iterable[str]) -> None:
        """Events were committed by this process, and nobody was told yet: whoever is told and asks finds them."""
        if self._mark is not None:
            self._mark.raise_(organization, kinds)
        for kind in kinds:
            self.memory.invalidate(organization, kind)

    async def drop(self, organization: UUID | None, pattern: str = "*") -> int:
        """Forgets the answers of an organization (None: of everybody) under paths that fit; returns how many, on both levels."""
        dropped = self.memory.clear(
            lambda key: (organization is None or key.organization == organization) and fnmatchcase(key.path, pattern)
        )
        if self._mark is not None and organization is None:
            self._mark.raise_all()
        elif self._mark is not None and organization is not None:
            self._mark.raise_(organization, KINDS)
        return dropped if self.second is None else dropped + await self.second.drop(organization, pattern)

    def hit_rate(self) -> float | None:
        """The share of look-ups in % that this process answered from memory or from Redis; None before the first."""
        found = self.hits + (0 if self.second is None else self.second.hits)
        return round(100 * found / (found + self.misses), 2) if found + self.misses else None

    def health(self) -> CacheHealth:
        """How both levels are."""
        redis = None if self.second is None else "ok" if self.second.available else "down"
        return CacheHealth("ok" if self.in_use else "down", redis)

    # What requests ask.

    @property
    def confirmed(self) -> dt.datetime:
        """All that was accepted before is in every answer that is given from memory."""
        return self._confirmed

    @property
    def in_use(self) -> bool:
        """Whether answers may be given from memory: the database was heard from."""
        return self._clock() < self._good_until

    def quick(
        self, request: web.Request, let_in: Callable[[float], bool], admits: Callable[[Principal], bool]
    ) -> tuple[Ready, Principal] | None:
        """The answer to a request of which everything was sent before, to the last byte, and who asks; None where more must be looked at.

        `let_in`: whether it is not yet that time on the authenticator's clock. `admits` counts a request that is answered.
        """
        shortcut = self.memory.shortcuts.get((request.raw_path, request.raw_headers))
        if shortcut is None or not let_in(shortcut.let_in_until) or request.method != "GET":
            return None
        entry = shortcut.entry
        if not self._good(entry, request[RECEIVED]) or not admits(shortcut.principal):
            return None
        self.hits += 1
        self.memory.used(entry)
        return self._ready(entry, shortcut.variant, shortcut.unchanged), shortcut.principal

    async def answer(
        self, request: web.Request, route: Route, principal: Principal, handler: Handler
    ) -> web.StreamResponse:
        """The answer that the handler would give, from wherever it comes."""
        key = _key(request, route, principal)
        kinds = route.kinds if isinstance(route.kinds, tuple) else route.kinds(request)
        if key is None or not kinds or not self.in_use:
            self.misses += 1
            return await handler(request)
        while True:
            entry = self.memory.get(key)
            if entry is not None and self._good(entry, request[RECEIVED]):
                self.hits += 1
                self.memory.used(entry)
                return await self._response(request, principal, entry)
            slots, marks = self._marks(key.organization, kinds)
            flight = self.memory.flights.get(key)
            if flight is None or flight.marks != marks:
                found = await self._lead(request, Flight(key, kinds, slots, marks), handler)
                return await self._response(request, principal, found) if isinstance(found, Entry) else found
            await flight.done.wait()
            if flight.abandoned:
                continue
            if flight.entry is None or not flight.entry.holds(request[RECEIVED]):
                # It failed, or gave what cannot be shared: that was its own affair, everybody asks for himself.
                self.misses += 1
                return await handler(request)
            self.hits += 1
            return await self._response(request, principal, flight.entry)

    def _good(self, entry: Entry, now: dt.datetime) -> bool:
        return (
            entry.holds(now)
            and self._clock() < self._good_until
            and (self._mark is None or self._mark.values(entry.slots) == entry.marks)
        )

    def _marks(self, organization: UUID, kinds: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self._mark is None:
            return (), ()
        slots = self._mark.slots(organization, kinds)
        return slots, self._mark.values(slots)

    async def _lead(self, request: web.Request, flight: Flight, handler: Handler) -> Entry | web.StreamResponse:
        """Finds an answer for all who ask for it meanwhile."""
        self.memory.take_off(flight)
        try:
            found = await self._find(request, flight, handler)
            if isinstance(found, Entry):
                flight.entry = found
                self._keep(flight, found)
            return found
        except asyncio.CancelledError:
            flight.abandoned = True
            raise
        finally:
            self.memory.land(flight)

    def _keep(self, flight: Flight, entry: Entry) -> None:
        if flight.stale or self._marks(flight.key.organization, flight.kinds)[1] != flight.marks:
            # It is as fresh as when it was asked for, and no fresher: the feed's word does not count for it.
            entry.moves = False
        else:
            self.memory.put(entry)

    async def _find(self, request: web.Request, flight: Flight, handler: Handler) -> Entry | web.StreamResponse:
        """From the second level, or from the handler. What cannot be kept comes as the handler gave it."""
        if self.second is None or not self.second.available:
            self.misses += 1
            response = await handler(request)
            return _entry(request, flight, response) or response
        async with self._database.read(flight.key.organization) as connection:
            reached = await positions(connection, *flight.kinds)
        now = request[RECEIVED]
        stored = await self.second.get(flight.key, reached, now)
        if stored is not None:
            # The positions were read after the request came in, so nothing is missing that was complete by then.
            as_of = max(stored.as_of, request[COMPLETE]) if stored.moves else stored.as_of
            until = min(stored.until, now + dt.timedelta(seconds=LIFE_S))
            return Entry(
                flight.key,
                flight.kinds,
                stored.body,
                stored.headers,
                as_of,
                stored.moves,
                now,
                until,
                flight.slots,
                flight.marks,
            )
        self.misses += 1
        response = await handler(request)
        entry = _entry(request, flight, response)
        if entry is not None:
            self.second.put(entry, reached, now)
        return entry or response

    async def _response(self, request: web.Request, principal: Principal, entry: Entry) -> web.StreamResponse:
        """The answer in the coding that the client prefers, or 304 where it has it."""
        how = coding(request.headers.get("Accept-Encoding"))
        variant = entry.variants.get(how)
        if variant is None:
            self.memory.grown(entry, await entry.make(how))
            variant = entry.variants[how]
        condition = request.headers.get("If-None-Match")
        unchanged = condition is not None and known(condition, entry.headers["ETag"])
        if request.version == HttpVersion11 and request.keep_alive:
            let_in_until = request.get(LET_IN_UNTIL)
            if let_in_until is not None:
                raw = request.raw_headers
                size = len(request.raw_path) + sum(len(name) + len(value) for name, value in raw)
                if size <= _LARGEST_ALIAS:
                    shortcut = Shortcut(entry, variant, unchanged, principal, let_in_until)
                    self.memory.shorten((request.raw_path, raw), size, shortcut)
            return self._ready(entry, variant, unchanged)
        headers = variant.not_modified if unchanged else variant.headers
        response = Settled(status=304 if unchanged else 200, body=None if unchanged else variant.body, headers=headers)
        response.headers["X-As-Of"] = self._as_of(entry)
        return response

    def _ready(self, entry: Entry, variant: Variant, unchanged: bool) -> Ready:
        if unchanged:
            return Ready(304, variant.head_not_modified, b"", self._as_of(entry))
        return Ready(200, variant.head, variant.body, self._as_of(entry))

    def _as_of(self, entry: Entry) -> str:
        return self._confirmed_text if entry.moves and self._confirmed > entry.as_of else entry.as_of_text


def _key(request: web.Request, route: Route, principal: Principal) -> Key | None:
    """What the answer depends on; None for a request that is not worth a place in memory."""
    accept = request.headers.get("Accept", "*/*")
    media = wanted(accept)
    if media is None or len(accept) > LONGEST or len(request.raw_path) > _LONGEST_PATH:
        return None
    # Repeated parameters keep their order, which may mean something.
    query = "&".join(
        f"{len(name)}:{name}={len(value)}:{value}"
        for name, value in sorted(request.query.items(), key=lambda pair: pair[0])
    )
    return Key(principal.organization, sight(principal, personal=route.personal), request.path, query, media)


def _entry(request: web.Request, flight: Flight, response: web.StreamResponse) -> Entry | None:
    """What can be kept of a handler's answer; None where it is not to be kept."""
    freshness = request.get(FRESHNESS)
    if (
        freshness is None
        or not isinstance(response, web.Response)
        or response.status != 200
        or not isinstance(response.body, bytes)
        or response.cookies
        or "ETag" not in response.headers
    ):
        return None
    now = request[RECEIVED]
    headers = {name: value for name, value in response.headers.items() if name != "X-As-Of"}
    return Entry(
        flight.key,
        flight.kinds,
        response.body,
        headers,
        freshness.as_of,
        freshness.moves,
        now,
        min(freshness.until, now + dt.timedelta(seconds=LIFE_S)),
        flight.slots,
        flight.marks,
    )
