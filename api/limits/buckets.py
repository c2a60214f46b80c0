"""Token buckets in memory: how much somebody may take at once, and how fast that comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

MOST = 100_000
"""Buckets that are kept; beyond that the full ones are forgotten, then those that were used longest ago."""

_W = TypeVar("_W", bound=Hashable)


class Bucket:
    """What is left at a time on the clock, and what was taken since that was last shared with other processes."""

    __slots__ = ("at", "level", "taken")

    def __init__(self, level: float, at: float) -> None:
        self.level = level
        self.at = at
        self.taken = 0.0


class Buckets(Generic[_W]):
    """A bucket for each caller: it holds `capacity`, gains `rate` a second, and starts full.

    Whoever takes more at once than it holds waits until it is full and leaves it in debt, so that the rate holds whatever the
    sizes are. It costs well under a microsecond, because every request passes through here.
    """

    def __init__(
        self,
        name: str,
        *,
        rate: float,
        capacity: float,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.rate = rate
        self.capacity = capacity
        self.clock = clock
        self.touched: set[_W] | None = None
        """Whose buckets something was taken from; None where nobody else wants to know."""
        self._most = most
        self._buckets: dict[_W, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, who: _W, amount: float = 1.0) -> float:
        """Takes and returns 0; where there is too little, takes nothing and returns the seconds until there will be enough."""
        now = self.clock()
        bucket = self._buckets.get(who)
        if bucket is None:
            bucket = self._new(who, now)
        level = bucket.level + (now - bucket.at) * self.rate
        if level > self.capacity:
            level = self.capacity
        bucket.at = now
        needed = amount if amount < self.capacity else self.capacity
        if level < needed:
            bucket.level = level
            return (needed - level) / self.rate
        bucket.level = level - amount
        if self.touched is not None:
            bucket.taken += amount
            self.touched.add(who)
        return 0.0

    def wait(self, who: _W, amount: float = 1.0) -> float:
        """The seconds until so much can be taken; takes nothing."""
        return max(0.0, (min(amount, self.capacity) - self.left(who)) / self.rate)

    def left(self, who: _W) -> float:
        """What can be taken at once; negative where there is a debt."""
        bucket = self._buckets.get(who)
        if bucket is None:
            return self.capacity
        return min(self.capacity, bucket.level + (self.clock() - bucket.at) * self.rate)

    def settle(self) -> dict[_W, float]:
        """What was taken from each since the last time."""
        assert self.touched is not None
        taken: dict[_W, float] = {}
        for who in self.touched:
            bucket = self._buckets.get(who)
            if bucket is not None:
                taken[who], bucket.taken = bucket.taken, 0.0
        self.touched.clear()
        return taken

    def set_level(self, who: _W, level: float) -> None:
        """What is left for somebody in all processes together, but for what was taken here since it was asked for."""
        bucket = self._buckets.get(who)
        if bucket is not None:
            bucket.level, bucket.at = level - bucket.taken, self.clock()

    def _new(self, who: _W, now: float) -> Bucket:
        if len(self._buckets) >= self._most:
            self._forget(now)
        bucket = self._buckets[who] = Bucket(self.capacity, now)
        return bucket

    def _forget(self, now: float) -> None:
        full = [w for w, b in self._buckets.items() if b.level + (now - b.at) * self.rate >= self.capacity]
        for who in full or sorted(self._buckets, key=lambda w: self._buckets[w].at)[: 1 + self._most // 10]:
            del self._buckets[who]
