"""When a delivery is tried again: after a minute, then later and later; half a day after the first attempt it is given up."""

from __future__ import annotations

import datetime as dt
from random import Random

WAITS_MIN = (1, 5, 15, 60, 240)
"""Minutes after the first attempt, the second, …; the last is that of all later ones."""
JITTER = 0.2
"""By how much a wait is longer at most, so that what failed together does not come back together."""


def wait_after(attempts: int, retry_after_s: float, random: Random) -> dt.timedelta:
    """How long to wait after so many attempts; never less than the receiver asks for, which is believed up to an hour."""
    minutes = WAITS_MIN[min(attempts, len(WAITS_MIN)) - 1]
    seconds = max(minutes * 60.0, min(retry_after_s, 3_600.0))
    return dt.timedelta(seconds=seconds * (1 + random.uniform(0, JITTER)))
