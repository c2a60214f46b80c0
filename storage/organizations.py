"""Which organizations there are."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from storage.database import Database


async def existing(database: Database, wanted: Collection[UUID]) -> set[UUID]:
    """Of these ids, those of organizations that exist."""
    async with database.owner() as connection:
        cursor = await connection.execute("select id from store.organization where id = any(%s)", (list(wanted),))
        return {found for (found,) in await cursor.fetchall()}
