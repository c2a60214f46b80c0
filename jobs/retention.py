"""Retention of raw events: days older than asked are archived, and dropped once the archive holds them."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable

import structlog

from storage.archive import Archive, ArchiveUnavailable
from storage.archive_write import ArchiveRun, archive_days
from storage.database import Database
from storage.raw_days import drop_raw_days

log = structlog.get_logger(__name__)

_TELL_AGAIN = dt.timedelta(days=1)


class RawRetention:
    """Archives raw days that are older than `days`, and drops those that the archive holds whole.

    Any number of processes may: one of them archives. What is kept because the archive does not hold it is told of at most once a day.
    """

    def __init__(
        self,
        database: Database,
        archive: Archive,
        days: int,
        now: Callable[[], dt.datetime],
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._database = database
        self._archive = archive
        self._days = days
        self._now = now
        self._stop = stop
        self._told: dt.datetime | None = None

    async def run(self) -> int:
        """Archives and drops what can be; returns how many days of a kind were dropped.

        Raises ArchiveUnavailable, after what was archived before is dropped, where a day could not be archived.
        """
        now = self._now()
        before = now.astimezone(dt.UTC).date() - dt.timedelta(days=self._days)
        archived = await asyncio.to_thread(archive_days, self._database.url, self._archive, before, stop=self._stop)
        _tell(archived)
        if archived.stopped:
            return 0
        dropped, kept = await drop_raw_days(self._database, before, self._archive)
        if kept and (self._told is None or now - self._told >= _TELL_AGAIN):
            self._told = now
            log.warning(
                "raw_events_kept", kinds=kept, before=before.isoformat(), reason="the archive does not hold them yet"
            )
        if archived.problem is not None:
            raise ArchiveUnavailable(archived.problem)
        return dropped


def _tell(archived: ArchiveRun) -> None:
    if archived.problem is not None:
        log.error(
            "archive_failed",
            reason=archived.problem,
            days_waiting=len(archived.waiting),
            oldest=min(day for _, day in archived.waiting).isoformat() if archived.waiting else None,
        )
    elif archived.days:
        log.info("archived", days=archived.days, files=archived.files, rows=archived.rows)
