"""Verify and rebuild for the state table of current reactions, which is no rollup: it keeps the latest, not a sum."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
from psycopg.sql import SQL, Identifier

from storage import sink_sql
from storage.database import Conn
from storage.ledger import LedgerName
from storage.reactions import current_reactions, merge_reactions

Frames = Callable[[Conn, dt.datetime, dt.datetime], Iterator[pl.DataFrame]]
"""Reads the raw view events of a range."""

_AGAIN = Identifier("pg_temp", "reactions_again")

# Whoever's state lies in the range must have reacted so there, last of all; whoever reacted there must have that state or a later one.
_DIFFERENT = SQL(
    "from pg_temp.reactions_again a full join (select * from store.video_reaction where time >= %(start)s) s"
    " using (organization, video_id, viewer)"
    " where (a.time is null and s.time < %(end)s) or s.time is null or (s.time, s.id, s.source) < (a.time, a.id, a.source)"
    " or ((s.time, s.id, s.source) = (a.time, a.id, a.source)"
    " and (s.reaction, s.creator_id) is distinct from (a.reaction, a.creator_id))"
)

_FIGURES = ("reaction", "time", "id")


def different_reactions(
    connection: Conn, frames: Frames, start: dt.datetime, end: dt.datetime
) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None]]:
    """Yields key, stored and recomputed state of everyone whose state is not what the raw events of the range say."""
    _recompute(connection, frames, start, end)
    rows = connection.execute(
        SQL(
            "select organization, video_id, viewer, s.reaction, s.time, s.id, a.reaction, a.time, a.id {} order by 1, 2, 3"
        ).format(_DIFFERENT),
        {"start": start, "end": end},
    ).fetchall()
    connection.execute(SQL("drop table {}").format(_AGAIN))
    for organization, video, viewer, *values in rows:
        yield (
            {"organization": organization, "video_id": video, "viewer": viewer},
            dict(zip(_FIGURES, values[:3], strict=True)) if values[1] is not None else None,
            dict(zip(_FIGURES, values[3:], strict=True)) if values[4] is not None else None,
        )


def rebuild_reactions(connection: Conn, frames: Frames, start: dt.datetime, end: dt.datetime) -> None:
    """Mends the states that lie in a small range, in one transaction that no sink writes views beside.

    Go from the last range to the first: a state that no event backs is taken away, and an earlier range brings the one before it.
    """
    with connection.transaction():
        sink_sql.lock_ledger(connection, LedgerName("view"))
        _recompute(connection, frames, start, end)
        connection.execute(
            "delete from store.video_reaction s where s.time >= %s and s.time < %s and not exists"
            " (select from pg_temp.reactions_again a where (a.organization, a.video_id, a.viewer, a.time, a.id, a.source)"
            " = (s.organization, s.video_id, s.viewer, s.time, s.id, s.source))",
            (start, end),
        )
        merge_reactions(connection, _AGAIN)
        connection.execute(SQL("drop table {}").format(_AGAIN))


def _recompute(connection: Conn, frames: Frames, start: dt.datetime, end: dt.datetime) -> None:
    connection.execute("create temporary table reactions_again (like store.video_reaction including indexes)")
    for frame in frames(connection, start, end):
        current_reactions(connection, frame, _AGAIN)
