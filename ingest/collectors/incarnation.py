"""Names for the lives of a source: a collector that restarts without its counter counts from 1 under a new name."""

from __future__ import annotations

import datetime as dt
from random import Random

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def incarnation(now: dt.datetime, random: Random) -> str:
    """Returns a ULID: 26 characters that sort by time, to the millisecond, and then by 80 random bits."""
    value = int(now.timestamp() * 1000) << 80 | random.getrandbits(80)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
