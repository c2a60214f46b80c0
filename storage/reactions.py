"""The state table of current reactions: one person has one reaction to a video, the latest by (time, id), then source."""

from __future__ import annotations

import polars as pl
from psycopg.sql import SQL, Identifier

from ingest.events.view import REACTIONS
from storage.database import Conn
from storage.rollup_sql import array_literals

TABLE = Identifier("store", "video_reaction")

_UPSERT = SQL(
    "insert into {} as t (organization, video_id, viewer, creator_id, reaction, time, id, source) {}"
    " on conflict (organization, video_id, viewer) do update"
    " set creator_id = excluded.creator_id, reaction = excluded.reaction, time = excluded.time, id = excluded.id,"
    " source = excluded.source where (excluded.time, excluded.id, excluded.source) >= (t.time, t.id, t.source)"
)
_SENT = SQL(
    "select * from unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],"
    " %s::text[], %s::text[])"
)


def latest_reactions(frame: pl.DataFrame) -> pl.DataFrame:
    """The latest reaction of each person to each video among raw view events, sorted by organization, video and viewer."""
    account = pl.concat_str(pl.lit("u:"), pl.col("user_id"))
    rows = (
        frame.filter(pl.col("action").is_in(list(REACTIONS)))
        .with_columns(pl.coalesce(account, pl.concat_str(pl.lit("s:"), pl.col("session_id"))).alias("viewer"))
        .sort("organization", "video_id", "viewer", "time", "id", "source")
        .unique(["organization", "video_id", "viewer"], keep="last", maintain_order=True)
    )
    reaction = pl.col("action").replace_strict(REACTIONS, return_dtype=pl.String).alias("reaction")
    return rows.select("organization", "video_id", "viewer", "creator_id", reaction, "time", "id", "source")


def current_reactions(connection: Conn, frame: pl.DataFrame, into: Identifier = TABLE) -> None:
    """Merges the reactions among raw view events into the state table, in the order of its key."""
    rows = latest_reactions(frame)
    if rows.height:
        connection.execute(_UPSERT.format(into, _SENT), array_literals(rows))


def merge_reactions(connection: Conn, other: Identifier) -> None:
    """Merges another table of this shape into the state table."""
    rows = SQL(
        "select organization, video_id, viewer, creator_id, reaction, time, id, source from {} order by 1, 2, 3"
    ).format(other)
    connection.execute(_UPSERT.format(TABLE, rows))
