"""Which organizations there are."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from storage.database import AsyncConn, Database


async def existing(database: Database, wanted: Collection[UUID]) -> set[UUID]:
    """Of these ids, those of organizations that exist."""
    async with database.owner() as connection:
        cursor = await connection.execute("select id from store.organization where id = any(%s)", (list(wanted),))
        return {found for (found,) in await cursor.fetchall()}


async def organization_name(connection: AsyncConn) -> str:
    """The name of the organization whose read transaction this is."""
    row = await (await connection.execute("select name from app.organization_profile")).fetchone()
    return str(row[0]) if row is not None else ""
