"""`video_engagement`: what people did with videos, by creator and video."""

from __future__ import annotations

import polars as pl

from aggregators.rollup import Derived, Measure, Rollup, Sketched

_action = pl.col("action")


def _prepare(raw: pl.DataFrame) -> pl.DataFrame:
    """Adds `viewer`, who acted, in one name in which accounts and browser sessions cannot collide."""
    account = pl.concat_str(pl.lit("u:"), pl.col("user_id"))
    return raw.with_columns(pl.coalesce(account, pl.concat_str(pl.lit("s:"), pl.col("session_id"))).alias("viewer"))


def _actions(name: str, action: str, doc: str) -> Measure:
    return Measure(name, (_action == action).sum(), "bigint", doc)


VIDEO_ENGAGEMENT = Rollup(
    name="video_engagement",
    event="view",
    grains=("15m", "1d"),
    keys=("creator_id", "video_id"),
    lookup=("creator_id",),
    prepare=_prepare,
    doc="What people did with videos. Actions are counted as they happened; current likes and dislikes stand in the leaderboards.",
    measures=(
        Measure("events", pl.len(), "bigint", "Actions of every kind."),
        _actions("views", "view", "Times a video was viewed."),
        _actions("likes", "like", "Times a like was given."),
        _actions("dislikes", "dislike", "Times a dislike was given."),
        _actions("unlikes", "unlike", "Times a like was taken back."),
        _actions("undislikes", "undislike", "Times a dislike was taken back."),
        _actions("shares", "share", "Times a video was shared."),
        _actions("completes", "complete", "Times a video was watched to its end."),
        Measure("watch_ms", pl.col("watch_ms").sum(), "numeric", "Time watched.", unit="ms"),
        Measure(
            "last_active",
            pl.col("time").dt.epoch("us").max(),
            "bigint",
            "Latest action.",
            merge="max",
            unit="µs",
            public=False,
        ),
        Measure(
            "viewer_registers",
            pl.col("viewer"),
            "bytea",
            "HyperLogLog registers of the viewers.",
            merge="registers",
            public=False,
        ),
    ),
    derived=(
        Derived(
            "completion_rate",
            "round(100.0 * completes / nullif(views, 0), 6)",
            ("completes", "views"),
            "Completes a view.",
            "%",
        ),
        Derived(
            "average_watch",
            "round(watch_ms / nullif(views, 0), 6)",
            ("watch_ms", "views"),
            "Time watched a view.",
            "ms",
        ),
    ),
    sketched=(
        Sketched("viewers", "viewer_registers", "Different viewers; exact for a few, standard error 1.6 % for many."),
    ),
)
