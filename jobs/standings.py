"""Keeps the creators' standings fresh: looks twice a second whether view events came, and refreshes at its pace."""

from __future__ import annotations

import asyncio

import structlog

from storage.database import Database, QueryTooSlow, StorageUnavailable
from storage.leaderboard import refresh_standings

log = structlog.get_logger(__name__)

LOOK_S = 0.5


async def keep_standings(database: Database) -> None:
    """Runs until it is cancelled. In several processes at once, one of them refreshes."""
    while True:
        try:
            await refresh_standings(database)
        except (StorageUnavailable, QueryTooSlow) as error:
            log.warning("standings_not_refreshed", reason=str(error))
        await asyncio.sleep(LOOK_S)
