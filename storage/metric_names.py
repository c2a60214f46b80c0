"""The metric names that organizations use, read once at the start."""

from __future__ import annotations

from uuid import UUID

from storage.database import Database


async def known_names(database: Database) -> list[tuple[UUID, str, str]]:
    """Organization, kind and name of every metric that was ever counted; bounded by what organizations may use."""
    async with database.service() as connection:
        cursor = await connection.execute("select organization, kind, name from store.metric_name")
        return [(organization, kind, name) for organization, kind, name in await cursor.fetchall()]
