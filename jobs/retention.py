"""Retention of raw events: days older than asked are dropped, once the archive holds them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import structlog

from storage.database import Database
from storage.raw_days import drop_raw_days

log = structlog.get_logger(__name__)

_TELL_AGAIN = dt.timedelta(days=1)


class RawRetention:
    """Drops raw days that are older than `days` and in the archive. What waits for the archive is told of at most once a day."""

    def __init__(self, database: Database, days: int, now: Callable[[], dt.datetime]) -> None:
        self._database = database
        self._days = days
        self._now = now
        self._told: dt.datetime | None = None

    async def run(self) -> int:
        """Drops what can be dropped; returns how many days of a kind that was."""
        now = self._now()
        before = now.astimezone(dt.UTC).date() - dt.timedelta(days=self._days)
        dropped, kept = await drop_raw_days(self._database, before)
        if kept and (self._told is None or now - self._told >= _TELL_AGAIN):
            self._told = now
            log.warning(
                "raw_events_kept", kinds=kept, before=before.isoformat(), reason="the archive does not hold them yet"
            )
        return dropped
