"""Random walks that are functions of time: the same second always gives the same value, however it is reached."""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import blake2b

import msgspec

DAY = 86_400.0

_PERIODS = ((7 * DAY, 0.45), (DAY, 0.25), (7_200.0, 0.16), (600.0, 0.09), (30.0, 0.06), (2.0, 0.05))
_ALL = 2**64 - 1
_SHARE = 1.0 / 2**63


@lru_cache(maxsize=4_096)
def _start(seed: int, name: str, period: float) -> int:
    """Returns where the numbers of one walk's period begin."""
    return int.from_bytes(blake2b(f"{seed}/{name}/{period}".encode(), digest_size=8).digest(), "big")


@lru_cache(maxsize=8_192)
def _knot(start: int, index: int) -> float:
    """Returns a random number from -1 to 1 that belongs to one point of a walk, by splitmix64 (Steele, Lea, Flood 2014)."""
    bits = (start + index * 0x9E3779B97F4A7C15) & _ALL
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _ALL
    return (bits ^ (bits >> 31)) * _SHARE - 1.0


class Waves(msgspec.Struct, frozen=True):
    """Named walks of one seed. Times are seconds since 1970."""

    seed: int

    def walk(self, name: str, time: float, *, longest: float = 7 * DAY) -> float:
        """Returns a value of about -1 to 1 that wanders: noise of several periods, from `longest` seconds down to two."""
        total = weights = 0.0
        for period, weight in _PERIODS:
            if period > longest:
                continue
            place = time / period
            index = math.floor(place)
            part = place - index
            eased = part * part * (3.0 - 2.0 * part)
            start = _start(self.seed, name, period)
            before, after = _knot(start, index), _knot(start, index + 1)
            total += weight * (before + (after - before) * eased)
            weights += weight
        # The mean of several noises stays closer to 0 than each of them.
        return max(-1.0, min(1.0, 1.6 * total / weights))


def activity(time: float) -> float:
    """Returns how busy people are, from 0.15 at night to 1 in the afternoon (UTC), a third less at weekends."""
    hour = time % DAY / 3_600.0
    daily = 0.575 + 0.425 * math.cos((hour - 15.0) / 24.0 * 2.0 * math.pi)
    weekday = int(time // DAY + 3) % 7  # 1970 began on a Thursday
    return daily * (0.67 if weekday >= 5 else 1.0)
