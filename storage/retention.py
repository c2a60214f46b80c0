"""What is kept no longer than it is of use: old feed positions, sources that fell silent, ids out of their window."""

from __future__ import annotations

from ingest.reserved import ALERT_SOURCE
from storage.database import Database
from storage.named import load


async def prune_feed(database: Database, *, hours: int = 48) -> int:
    """Deletes feed positions older than `hours`; a cursor before them is told `reset`. Returns how many."""
    async with database.jobs() as connection:
        cursor = await connection.execute(
            "delete from store.feed where committed_at < now() - make_interval(hours => %s)"
            " and position < (select position from store.feed_head)",
            (hours,),
        )
        return cursor.rowcount


async def prune_sources(database: Database, *, days: int = 30) -> int:
    """Forgets sources that numbered their events and were not heard for `days`. Returns how many.

    Never an import's, which may be resumed at any time, nor that of alerts: one may wait for the log for longer.
    """
    async with database.jobs() as connection:
        cursor = await connection.execute(
            "delete from store.source_sequence where heard_at < now() - make_interval(days => %s)"
            " and source not like 'import/%%' and source <> %s",
            (days, ALERT_SOURCE),
        )
        return cursor.rowcount


async def prune_ledgers(database: Database, *, hours: int) -> int:
    """Forgets ids that are out of the window in ledgers that nobody writes any more: those of a number of partitions that was raised.

    Returns how many batches and slices.
    """
    async with database.jobs() as connection:
        gone = 0
        for name in ("prune_retired_ledgers", "prune_retired_slices"):
            gone += (await connection.execute(load("log")[name], {"hours": hours})).rowcount
        return gone
