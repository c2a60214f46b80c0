"""The creators' leaderboard, read from the rollup of actions and the state table of current reactions."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from storage.database import Database
from storage.feed import watermark
from storage.named import load

_QUERIES = load("leaderboard")


async def top_creators(database: Database, organization: UUID, limit: int) -> tuple[list[dict[str, Any]], dt.datetime]:
    """Rank, creator_id, views, videos, likes, dislikes, last_active_at and score of the best, and how fresh they are."""
    async with database.read(organization) as connection:
        mark = await watermark(connection, "view")
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_QUERIES["top_creators"], {"limit": limit})
            return await cursor.fetchall(), mark.as_of
