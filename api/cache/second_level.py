"""The second level: Redis, which all API processes share. It may be slow or away: then it is left alone, and never an error."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.cache.entry import Entry, Key

log = structlog.get_logger(__name__)

TIMEOUT_S = 0.05
"""How long it is waited for: a dashboard's questions are read from the database in a few milliseconds, too."""
REST_S = 5.0
"""How long it is not asked after a failure."""
LARGEST = 1024 * 1024
"""Bytes; a larger body is not worth its way."""
_MOST_WRITES = 32
_PREFIX = "streamgauge:1:"
_FAILURES = (RedisError, OSError, TimeoutError, ValueError)


class Stored(msgspec.Struct, frozen=True):
    """An entry as Redis has it. `name` is all that it was found by."""

    name: str
    body: bytes
    headers: dict[str, str]
    as_of: dt.datetime
    moves: bool
    made: dt.datetime
    until: dt.datetime


class SecondLevel:
    """Answers by what they depend on, the positions of the organization's commits among it: a stale one can never be found."""

    def __init__(
        self,
        url: str,
        *,
        life_s: float,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects when it is first asked. Raises ValueError for an address that is none."""
        self._timeout_s = timeout_s
        self._redis = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=64,
        )
        self._life_s = life_s
        self._clock = clock
        self._resting_until = float("-inf")
        self._told = False
        self._writes: set[asyncio.Task[None]] = set()
        self.hits = 0
        self.misses = 0
        self.errors = 0

    async def close(self) -> None:
        """Ends what is under way and closes the connections."""
        for task in list(self._writes):
            task.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)
        await self._redis.aclose()

    @property
    def available(self) -> bool:
        """Whether it is asked now."""
        return self._clock() >= self._resting_until

    async def get(self, key: Key, positions: Sequence[int], now: dt.datetime) -> Stored | None:
        """An answer that holds at these positions of the key's kinds, made by any process; None where there is none."""
        if not self.available:
            return None
        name = _name(key, positions)
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._redis.get(_place(key, name))
            stored = msgspec.msgpack.decode(found, type=Stored) if isinstance(found, bytes) else None
        except _FAILURES as error:
            self._rest(error)
            return None
        self._well()
        if stored is None or stored.name != name or not stored.made <= now < stored.until:
            self.misses += 1
            return None
        self.hits += 1
        return stored

    def put(self, entry: Entry, positions: Sequence[int], now: dt.datetime) -> None:
        """Keeps an answer that was read at these positions or later. Nobody waits for it; where too much is under way it is left."""
        seconds = min(self._life_s, (entry.until - now).total_seconds())
        if not self.available or len(self._writes) >= _MOST_WRITES or len(entry.body) > LARGEST or seconds < 0.05:
            return
        name = _name(entry.key, positions)
        stored = Stored(name, entry.body, dict(entry.headers), entry.as_of, entry.moves, entry.made, entry.until)
        task = asyncio.create_task(
            self._put(_place(entry.key, name), msgspec.msgpack.encode(stored), int(1_000 * seconds))
        )
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def settle(self) -> None:
        """Returns when nothing is being written any more."""
        while self._writes:
            await asyncio.gather(*self._writes, return_exceptions=True)

    async def drop(self, organization: UUID | None, pattern: str = "*") -> int:
        """Forgets an organization's answers (or everybody's) under paths that fit a pattern; returns how many. It is no quick thing."""
        if not self.available:
            return 0
        within = _PREFIX + ("*" if organization is None else organization.hex) + ":" + pattern + ":*"
        dropped = 0
        try:
            async with asyncio.timeout(10.0):
                async for place in self._redis.scan_iter(match=within, count=1_000):
                    dropped += int(await self._redis.unlink(place))
        except _FAILURES as error:
            self._rest(error)
        return dropped

    async def _put(self, place: str, value: bytes, milliseconds: int) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._redis.set(place, value, px=milliseconds)
        except _FAILURES as error:
            self._rest(error)
        else:
            self._well()

    def _rest(self, error: Exception) -> None:
        self.errors += 1
        self._resting_until = self._clock() + REST_S
        if not self._told:
            # Its text may hold the address, which may hold a password.
            log.warning("redis_unavailable", reason=type(error).__name__)
            self._told = True

    def _well(self) -> None:
        if self._told:
            log.info("redis_available")
            self._told = False


def _name(key: Key, positions: Sequence[int]) -> str:
    return msgspec.json.encode([*key, *positions]).decode()


def _place(key: Key, name: str) -> str:
    """Organization and path can be read, so that they can be dropped; the rest is a hash."""
    return f"{_PREFIX}{key.organization.hex}:{key.path}:{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}"
