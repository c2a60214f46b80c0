"""The creators' leaderboard: a materialized view over the rollup of actions and the current reactions, refreshed as views come."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.sql import SQL, Literal

from storage.database import AsyncConn, Conn, Database
from storage.filled import require
from storage.named import load

_QUERIES = load("leaderboard")
_LOCK = 7_205_759_403_792_793


@dataclass(frozen=True)
class Standings:
    """The best creators: rows of rank, creator_id, views, videos, likes, dislikes, last_active_at and score.

    `as_of`: when the newest event in them was committed. `holds` and `newest` are feed positions: of the newest view event in them,
    and of the newest there is. `read_at`: what was committed before is in them; None where there was no refresh yet.
    """

    creators: list[dict[str, Any]]
    as_of: dt.datetime
    holds: int
    newest: int
    read_at: dt.datetime | None

    @property
    def current(self) -> bool:
        """Whether every view event of the organization is in them."""
        return self.holds >= self.newest


def ensure_standings(connection: Conn) -> None:
    """Creates the materialized view, or makes it anew where this version defines it otherwise. After the rollups' tables."""
    wanted = hashlib.sha256(_QUERIES["define"].encode()).hexdigest()
    row = connection.execute(_QUERIES["defined_as"]).fetchone()
    if row is not None and row[0] == wanted:
        return
    with connection.transaction():
        connection.execute(_QUERIES["drop"])
        connection.execute(_QUERIES["define"])
        connection.execute(SQL("comment on materialized view store.creator_standing is {}").format(Literal(wanted)))
        # What it holds at this moment is unknown to the stamps; the first refresh says.
        connection.execute("update store.standing_refresh set position = 0, began_at = null, took = '0'")
        connection.execute("delete from store.standing_stamp")


async def top_creators(database: Database, organization: UUID, limit: int) -> Standings:
    """The best creators, and how fresh that is, in one snapshot. Raises NotFilled."""
    async with database.read(organization) as connection:
        await require(connection, "video_engagement", "1d", "views", "last_active")
        row = await (await connection.execute(_QUERIES["freshness"])).fetchone()
        assert row is not None
        holds, as_of, newest, read_at = row
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_QUERIES["top_creators"], {"limit": limit})
            return Standings(await cursor.fetchall(), as_of, holds, newest, read_at)


async def refresh_standings(database: Database, *, interval_s: float = 2.0) -> bool:
    """Refreshes the materialized view where it is due, and whether it did. Readers see the old rows until the new ones are committed.

    Of several processes that call it one does it; the others return at once.
    """
    async with database.owner() as connection:
        if not await _one(connection, "due", {"interval": interval_s}) or not await _one(connection, "filled"):
            return False
    async with database.owner() as connection:
        # The stamps are written first, so that all they say is in the rows; both are seen from the commit on.
        row = await (await connection.execute("select pg_try_advisory_xact_lock(%s)", (_LOCK,))).fetchone()
        if row is None or not row[0] or not await _one(connection, "due", {"interval": interval_s}):
            return False
        await connection.execute("set local statement_timeout = 0")
        await connection.execute(_QUERIES["began"])
        await connection.execute(_QUERIES["refresh"])
        await connection.execute(_QUERIES["done"])
        return True


async def _one(connection: AsyncConn, name: str, parameters: dict[str, Any] | None = None) -> bool:
    row = await (await connection.execute(_QUERIES[name], parameters)).fetchone()
    return row is not None and bool(row[0])
