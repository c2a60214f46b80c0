"""The creators' leaderboard: a materialized view over the rollup of actions and the current reactions, refreshed as views come."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.sql import SQL
from psycopg.sql import Literal as SqlLiteral

from storage.database import AsyncConn, Conn, Database
from storage.filled import require
from storage.named import load
from storage.profiles import usernames_of

Board = Literal["24h", "7d", "30d", "all"]
"""Which window a ranking is of."""

_QUERIES = load("leaderboard")
_LOCK = 7_205_759_403_792_793


@dataclass(frozen=True)
class Standings:
    """A part of a board: creators in the order of their rank.

    Rows of rank, previous_rank (None: not ranked in the window before, or `all`), creator_id, score, views, likes, dislikes, videos and
    last_active_at.

    `as_of`: when the newest event in them was committed. `holds` and `newest` are feed positions: of the newest view event in them,
    and of the newest there is. `read_at`: what was committed before is in them; None where there was no refresh yet. Windows end at
    `window_end`.
    """

    board: Board
    creators: list[dict[str, Any]]
    as_of: dt.datetime
    holds: int
    newest: int
    read_at: dt.datetime | None
    window_end: dt.datetime

    @property
    def current(self) -> bool:
        """Whether every view event of the organization is in them."""
        return self.holds >= self.newest

    def current_at(self, now: dt.datetime) -> bool:
        """Whether nothing is missing at this time: no view event, and no quarter of an hour that the window should have moved on."""
        return self.current and (self.board == "all" or now < self.window_end or not self.newest)


def ensure_standings(connection: Conn) -> None:
    """Creates the materialized view, or makes it anew where this version defines it otherwise. After the rollups' tables."""
    wanted = hashlib.sha256((_QUERIES["define_history"] + _QUERIES["define"]).encode()).hexdigest()
    row = connection.execute(_QUERIES["defined_as"]).fetchone()
    if row is not None and row[0] == wanted:
        return
    with connection.transaction():
        connection.execute(_QUERIES["drop"])
        connection.execute(_QUERIES["began"], {"now": None})
        connection.execute(_QUERIES["define_history"])
        connection.execute(_QUERIES["define"])
        connection.execute(SQL("comment on materialized view store.creator_ranking is {}").format(SqlLiteral(wanted)))
        # What it holds at this moment is unknown to the stamps; the first refresh says.
        connection.execute(
            "update store.standing_refresh set position = 0, began_at = null, took = '0', history_end = null"
        )
        connection.execute("delete from store.standing_stamp")


async def standings(
    database: Database, organization: UUID, board: Board, *, limit: int, offset: int = 0, around: str | None = None
) -> Standings:
    """At most `limit` creators behind the first `offset`, or those around one of them, and how fresh that is, in one snapshot.

    None are around somebody who is not on the board. Raises NotFilled.
    """
    async with database.read(organization) as connection:
        for grain in ("1d", "15m"):
            await require(connection, "video_engagement", grain, "views", "last_active")
        row = await (await connection.execute(_QUERIES["freshness"])).fetchone()
        assert row is not None
        holds, as_of, newest, read_at, window_end = row
        asked = {"board": board, "limit": limit, "offset": offset, "around": around}
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_QUERIES["ranked" if around is None else "around"], asked)
            creators = await cursor.fetchall()
        names = await usernames_of(connection, [row["creator_id"] for row in creators])
    for creator in creators:
        creator["username"] = names.get(creator["creator_id"], creator["creator_id"])
    return Standings(board, creators, as_of, holds, newest, read_at, window_end)


async def refresh_standings(database: Database, *, interval_s: float = 2.0, now: dt.datetime | None = None) -> bool:
    """Refreshes the materialized view where it is due, and whether it did. Readers see the old rows until the new ones are committed.

    Of several processes that call it one does it; the others return at once. `now` says where windows end, by default the
    database's clock, which all schedulers have in common.
    """
    asked = {"interval": interval_s, "now": now}
    async with database.jobs() as connection:
        if not await _one(connection, "due", asked):
            return False
        if not await _one(connection, "filled"):
            await connection.execute(_QUERIES["history_unknown"])
            return False
    async with database.jobs() as connection:
        # The stamps are written first, so that all they say is in the rows; both are seen from the commit on.
        row = await (await connection.execute("select pg_try_advisory_xact_lock(%s)", (_LOCK,))).fetchone()
        if row is None or not row[0] or not await _one(connection, "due", asked):
            return False
        await connection.execute("set local statement_timeout = 0")
        await connection.execute("set local work_mem = '64MB'")
        await connection.execute("set local jit = off")
        await connection.execute(_QUERIES["began"], {"now": now})
        if await _one(connection, "history_due"):
            await connection.execute(_QUERIES["refresh_history"])
            await connection.execute(_QUERIES["history_done"])
        await connection.execute(_QUERIES["refresh"])
        await connection.execute(_QUERIES["done"])
        return True


async def _one(connection: AsyncConn, name: str, parameters: dict[str, Any] | None = None) -> bool:
    row = await (await connection.execute(_QUERIES[name], parameters)).fetchone()
    return row is not None and bool(row[0])
