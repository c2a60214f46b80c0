"""How long to wait before trying again: capped, exponential, with jitter, and never less than the server asks for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from random import Random

import msgspec

LONGEST = 3_600.0
"""The longest `Retry-After` that is believed, in seconds."""


class Backoff(msgspec.Struct, frozen=True):
    """Waits of up to `first` seconds, doubling from attempt to attempt up to `cap` seconds."""

    first: float = 0.25
    cap: float = 15.0

    def delay(self, attempt: int, random: Random) -> float:
        """Returns the seconds to wait after the failed attempt of this number, counted from 0.

        Half of it is random, so that many collectors do not come back to a restarted server in step.
        """
        full = min(self.cap, self.first * 2.0 ** min(attempt, 60))
        return full / 2 + random.uniform(0, full / 2)


def retry_after(headers: Mapping[str, str]) -> float:
    """Returns the seconds that a `Retry-After` header asks for, 0 where it is absent or cannot be read.

    A date is compared with the answer's own `Date`, so that a wrong clock on this side does not matter.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST)
    until, since = _date(text), _date(headers.get("Date", ""))
    if until is None or since is None:
        return 0.0
    return min(max((until - since).total_seconds(), 0.0), LONGEST)


def _date(text: str) -> dt.datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)
