"""What every handler needs to know of an organization: its time zone."""

from __future__ import annotations

from uuid import UUID

from storage.database import Database


async def time_zone(database: Database, organization: UUID) -> str:
    """The organization's zone, UTC where it has set none."""
    rows = await database.rows(organization, "select time_zone from app.organization_profile")
    return str(rows[0]["time_zone"]) if rows else "UTC"
