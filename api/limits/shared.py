"""Limits that several API processes keep together, in Redis. It may be slow or away: then each keeps its own, and nobody waits."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.limits.buckets import Buckets

log = structlog.get_logger(__name__)

SHARE_S = 0.25
"""How often what was taken is told to the others."""
TIMEOUT_S = 0.25
REST_S = 5.0
"""How long Redis is not asked after a failure."""
_AT_ONCE = 1_000
_PREFIX = "streamgauge:limit:"
_FAILURES = (RedisError, OSError, TimeoutError, ValueError)

_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local rate, capacity, taken = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local held = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = capacity
if held[1] then
  level = math.min(capacity, tonumber(held[1]) + math.max(0, now - tonumber(held[2])) * rate)
end
level = math.max(level - taken, -capacity)
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((capacity - level) / rate * 1000) + 1000)
return string.format('%.6f', level)
"""

_BEGIN = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local limit, seconds = tonumber(ARGV[1]), tonumber(ARGV[2])
local wait = 0
for _, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - seconds)
  if redis.call('ZCARD', key) >= limit then
    local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    wait = math.max(wait, tonumber(oldest[2]) + seconds - now, 0.001)
  end
end
if wait == 0 then
  for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, string.format('%.6f', now), ARGV[3])
    redis.call('PEXPIRE', key, math.ceil(seconds * 1000))
  end
end
return string.format('%.6f', wait)
"""


class SharedLimits:
    """Redis. Buckets are filled in memory and told of four times a second (`run`); attempts are counted there at once."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = time.monotonic) -> None:
        """Connects when it is first asked. Raises ValueError for an address that is none."""
        self._redis = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=16,
        )
        self._timeout_s = timeout_s
        self._clock = clock
        self._take = self._redis.register_script(_TAKE)
        self._begin = self._redis.register_script(_BEGIN)
        self._ids = itertools.count()
        self._name = f"{time.time_ns():x}"
        self._resting_until = float("-inf")
        self._told = False

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    @property
    def available(self) -> bool:
        """Whether it is asked now."""
        return self._clock() >= self._resting_until

    async def run(self, buckets: Sequence[Buckets[Any]]) -> None:
        """Keeps these buckets together with those of the other processes, until it is cancelled."""
        for one in buckets:
            one.touched = set()
        while True:
            await asyncio.sleep(SHARE_S)
            for one in buckets:
                await self.share(one)

    async def share(self, buckets: Buckets[Any]) -> None:
        """Tells what was taken, and learns what is left in all processes together."""
        taken = list(buckets.settle().items())
        if not self.available:
            return  # what was taken meanwhile counted here
        for at in range(0, len(taken), _AT_ONCE):
            part = taken[at : at + _AT_ONCE]
            try:
                async with asyncio.timeout(self._timeout_s), self._redis.pipeline(transaction=False) as pipeline:
                    for who, amount in part:
                        arguments = (buckets.rate, buckets.capacity, amount)
                        await self._take(keys=[f"{_PREFIX}{buckets.name}:{who}"], args=arguments, client=pipeline)
                    levels = await pipeline.execute()
            except _FAILURES as error:
                self._rest(error)
                return
            for (who, _), level in zip(part, levels, strict=True):
                buckets.set_level(who, float(level))
        if taken:
            self._well()

    async def begin(self, names: Sequence[str], limit: int, seconds: float) -> tuple[float, str] | None:
        """Counts an attempt under each of the names, and returns 0 and what it is called; or the seconds to wait. None: it is away."""
        if not self.available:
            return None
        attempt = f"{self._name}-{next(self._ids)}"
        try:
            async with asyncio.timeout(self._timeout_s):
                wait = await self._begin(keys=[_PREFIX + name for name in names], args=(limit, seconds, attempt))
        except _FAILURES as error:
            self._rest(error)
            return None
        self._well()
        return float(wait), attempt

    async def succeed(self, forgotten: Sequence[str], taken_back: Sequence[str], attempt: str) -> None:
        """Forgets all attempts under some names, and this one under others."""
        if not self.available:
            return
        try:
            async with asyncio.timeout(self._timeout_s), self._redis.pipeline(transaction=False) as pipeline:
                for name in forgotten:
                    pipeline.delete(_PREFIX + name)
                for name in taken_back:
                    pipeline.zrem(_PREFIX + name, attempt)
                await pipeline.execute()
        except _FAILURES as error:
            self._rest(error)

    def _rest(self, error: Exception) -> None:
        self._resting_until = self._clock() + REST_S
        if not self._told:
            # Its text may hold the address, which may hold a password.
            log.warning("limits_not_shared", reason=type(error).__name__)
            self._told = True

    def _well(self) -> None:
        if self._told:
            log.info("limits_shared")
            self._told = False
