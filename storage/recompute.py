"""Verify and rebuild: every rollup can be recomputed from the raw events, compared and mended."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from aggregators.engine import aggregate, columns
from aggregators.rollup import Rollup
from storage import rollup_sql, sink_sql
from storage.archive import Archive
from storage.database import JOBS_ROLE, Conn, connect, translated
from storage.filled import mark_filled
from storage.raw_days import DAY, RawEventsGone, archived_days, gone_days
from storage.raw_events import raw_frames, share_gate
from storage.recompute_reactions import Frames, different_reactions, rebuild_reactions
from storage.rollup_write import RollupRows, RollupWriter

log = structlog.get_logger(__name__)

FLOAT_TOLERANCE = 1e-9
"""Sums of floating-point metrics depend on the order of addition in their last digits; all other figures compare exactly."""

Progress = Callable[[str, int, int], None]
"""Called with what is recomputed, the days done and the days there are."""


@dataclass(frozen=True)
class Difference:
    """One row in which a rollup and its recomputation are not equal; None stands for a row that is not there."""

    table: str
    keys: dict[str, Any]
    stored: dict[str, Any] | None
    recomputed: dict[str, Any] | None


_EVER = dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, tzinfo=dt.UTC)


def whole_days(start: dt.datetime, end: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """The range widened to whole UTC days, which every grain divides."""
    first = dt.datetime.combine(start.astimezone(dt.UTC).date(), dt.time(), dt.UTC)
    last = end.astimezone(dt.UTC)
    final = dt.datetime.combine(last.date(), dt.time(), dt.UTC)
    return first, final if final == last else final + DAY


def covered(connection: Conn, rollups: Sequence[Rollup]) -> tuple[dt.datetime, dt.datetime] | None:
    """The days of which there are raw events, archived ones too, or rollup rows; None where there are none at all."""
    bounds: list[dt.datetime] = []
    for rollup in rollups:
        sources = [(Identifier("store", f"event_{rollup.event}"), "time")]
        sources += [(rollup_sql.table(rollup, grain), "bucket") for grain in rollup.grains]
        for name, column in sources:
            statement = SQL("select min({c}), max({c}) from {t}").format(c=Identifier(column), t=name)
            row = connection.execute(statement).fetchone()
            if row is not None and row[0] is not None:
                bounds += [row[0], row[1] + dt.timedelta(microseconds=1)]
        for day in archived_days(connection, rollup.event, *_EVER):
            bounds += [dt.datetime.combine(day, dt.time(), dt.UTC), dt.datetime.combine(day + DAY, dt.time(), dt.UTC)]
    return whole_days(min(bounds), max(bounds)) if bounds else None


def verify(
    url: str,
    rollups: Sequence[Rollup],
    start: dt.datetime | None,
    end: dt.datetime | None,
    progress: Progress,
    archive: Archive | None = None,
) -> Iterator[Difference]:
    """Recomputes a range (all there is by default) in one snapshot and yields every difference. Nothing is changed.

    Raw events that were dropped are read from the archive. Raises ArchiveDamaged where one of its files is not what was written, and
    RawEventsGone for a range with a start that holds days whose raw events are in neither place. Without a start these are left out,
    which the log says.
    """
    with (
        translated(),
        connect(url, name="verify", role=JOBS_ROLE) as connection,
        connection.transaction(force_rollback=True),
    ):
        connection.execute("set transaction isolation level repeatable read")
        share_gate(connection)
        bounds = _range(connection, rollups, start, end)
        if bounds is None:
            return
        _refuse_gone(connection, rollups, start, bounds, archive)
        for rollup in rollups:
            for day in _days(connection, rollup, *bounds, progress, archive):
                temporary = _recompute(connection, rollup, day, day + DAY, archive)
                for grain in rollup.grains:
                    yield from _compare(connection, rollup, grain, temporary[grain], day, day + DAY)
        if any(rollup.event == "view" for rollup in rollups):
            for first, last in _kept(bounds, gone_days(connection, "view", *bounds, archive)):
                for keys, stored, recomputed in different_reactions(connection, _views(archive), first, last):
                    yield Difference("video_reaction", keys, stored, recomputed)


def rebuild(
    url: str,
    rollups: Sequence[Rollup],
    start: dt.datetime | None,
    end: dt.datetime | None,
    progress: Progress,
    archive: Archive | None = None,
) -> int:
    """Replaces the rows of a range (all there is by default) by their recomputation, a day a transaction; returns the days done.

    Live events keep coming: the sink waits for the day that is being replaced, readers see the old rows until the new ones are
    committed. Raw events that were dropped are read from the archive; days that are in neither place are refused or left out as by
    `verify`, and keep their rows.
    """
    done = 0
    with translated(), connect(url, name="rebuild", role=JOBS_ROLE) as connection:
        bounds = _range(connection, rollups, start, end)
        if bounds is not None:
            _refuse_gone(connection, rollups, start, bounds, archive)
            for rollup in rollups:
                for day in _days(connection, rollup, *bounds, progress, archive):
                    with connection.transaction():
                        sink_sql.own_rollup(connection, rollup.name)
                        replace_rows(connection, rollup, day, day + DAY, archive)
                        done += 1
            if any(rollup.event == "view" for rollup in rollups):
                views = next(rollup for rollup in rollups if rollup.event == "view")
                for day in reversed(list(_days(connection, views, *bounds, lambda *_: None, archive))):
                    rebuild_reactions(connection, _views(archive), day, day + DAY)
        if start is None and end is None:
            for rollup in rollups:
                mark_filled(connection, rollup.name, rollup_sql.declared(rollup))
    return done


def _range(
    connection: Conn, rollups: Sequence[Rollup], start: dt.datetime | None, end: dt.datetime | None
) -> tuple[dt.datetime, dt.datetime] | None:
    """The whole days that are asked for; what is left open reaches as far as there is anything."""
    if start is not None and end is not None:
        return whole_days(start, end)
    known = covered(connection, rollups)
    return None if known is None else whole_days(start or known[0], end or known[1])


def _refuse_gone(
    connection: Conn,
    rollups: Sequence[Rollup],
    start: dt.datetime | None,
    bounds: tuple[dt.datetime, dt.datetime],
    archive: Archive | None,
) -> None:
    for kind in {rollup.event: None for rollup in rollups} if start is not None else ():
        if gone := gone_days(connection, kind, *bounds, archive):
            raise RawEventsGone(kind, gone)


def _kept(
    bounds: tuple[dt.datetime, dt.datetime], gone: Sequence[dt.date]
) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """The parts of a range of whole days that are left without these days."""
    first, last = bounds
    for day in gone:
        start = dt.datetime.combine(day, dt.time(), dt.UTC)
        if first < start:
            yield first, start
        first = start + DAY
    if first < last:
        yield first, last


def _days(
    connection: Conn,
    rollup: Rollup,
    first: dt.datetime,
    last: dt.datetime,
    progress: Progress,
    archive: Archive | None,
) -> Iterator[dt.datetime]:
    """`days_held`, telling of each before it is given."""
    days = days_held(connection, rollup, first, last, archive)
    for number, day in enumerate(days):
        progress(rollup.name, number, len(days))
        yield day
    progress(rollup.name, len(days), len(days))


def days_held(
    connection: Conn, rollup: Rollup, first: dt.datetime, last: dt.datetime, archive: Archive | None
) -> list[dt.datetime]:
    """The days of a range of which there are raw events, archived ones too, or rollup rows. The others have nothing that could differ.

    Days whose raw events are in neither place are left out.
    """
    sources = [(Identifier("store", f"event_{rollup.event}"), "time")]
    sources += [(rollup_sql.table(rollup, grain), "bucket") for grain in rollup.grains]
    parts = [
        SQL("select date_trunc('day', {c}, 'UTC') as day from {t} where {c} >= %(first)s and {c} < %(last)s").format(
            c=Identifier(column), t=name
        )
        for name, column in sources
    ]
    statement = SQL("select distinct day from ({}) as held").format(SQL(" union all ").join(parts))
    found = {day for (day,) in connection.execute(statement, {"first": first, "last": last}).fetchall()}
    archived = archived_days(connection, rollup.event, first, last)
    held = sorted(found | {dt.datetime.combine(day, dt.time(), dt.UTC) for day in archived})
    gone = set(gone_days(connection, rollup.event, first, last, archive))
    days = [day for day in held if day.date() not in gone]
    if len(days) < len(held):
        log.warning(
            "days_left_out", rollup=rollup.name, days=len(held) - len(days), reason="their raw events were dropped"
        )
    return days


def replace_rows(
    connection: Conn, rollup: Rollup, start: dt.datetime, end: dt.datetime, archive: Archive | None
) -> None:
    """Puts the recomputation of a range in the place of its rows, at every grain. In a transaction that owns the rollup."""
    temporary = _recompute(connection, rollup, start, end, archive)
    for grain in rollup.grains:
        name = rollup_sql.table(rollup, grain)
        connection.execute(SQL("delete from {} where bucket >= %s and bucket < %s").format(name), (start, end))
        listed = SQL(", ").join(Identifier(column) for column in columns(rollup, grain))
        connection.execute(SQL("insert into {} ({}) select {} from {}").format(name, listed, listed, temporary[grain]))


def _recompute(
    connection: Conn, rollup: Rollup, start: dt.datetime, end: dt.datetime, archive: Archive | None
) -> dict[str, Identifier]:
    """Fills temporary tables from the raw events by the same aggregation and the same upsert as the sink's.

    The connection keeps them from day to day: a transaction holds a lock on every table that it made, and years would be too many.
    """
    names: dict[str, Identifier] = {
        grain: Identifier("pg_temp", f"again_{rollup.name}_{grain}") for grain in rollup.grains
    }
    for grain, name in names.items():
        shape = rollup_sql.table(rollup, grain)
        connection.execute(
            SQL("create temporary table if not exists {} (like {} including indexes)").format(name, shape)
        )
        filled = connection.execute(SQL("select exists (select from {})").format(name)).fetchone()
        if filled is not None and filled[0]:
            connection.execute(SQL("truncate {}").format(name))
    writers = {grain: RollupWriter(connection, rollup, grain, name) for grain, name in names.items()}
    for frame in raw_frames(connection, rollup.event, start, end, archive):
        for part in aggregate(rollup, frame):
            for grain, rows in part.items():
                writers[grain].add(connection, RollupRows.of(rollup, grain, rows))
    return names


def _compare(
    connection: Conn, rollup: Rollup, grain: str, again: Identifier, start: dt.datetime, end: dt.datetime
) -> Iterator[Difference]:
    keys = ["organization", "bucket", *rollup.keys]
    figures = [name for name in columns(rollup, grain) if name not in keys]
    statement = SQL(
        "select {keys}, s is null, a is null, {stored}, {again}"
        " from (select * from {table} where bucket >= %s and bucket < %s) as s full join {temp} as a using ({keys})"
        " where s is null or a is null or {differ} order by {keys}"
    ).format(
        keys=SQL(", ").join(Identifier(key) for key in keys),
        stored=SQL(", ").join(Identifier("s", name) for name in figures),
        again=SQL(", ").join(Identifier("a", name) for name in figures),
        table=rollup_sql.table(rollup, grain),
        temp=again,
        differ=SQL(" or ").join(_differs(rollup, name) for name in figures),
    )
    for row in connection.execute(statement, (start, end)).fetchall():
        split = len(keys)
        no_stored, no_again = row[split], row[split + 1]
        values = row[split + 2 :]
        stored = dict(zip(figures, values[: len(figures)], strict=True))
        recomputed = dict(zip(figures, values[len(figures) :], strict=True))
        yield Difference(
            f"{rollup.name} {grain}",
            dict(zip(keys, row[:split], strict=True)),
            None if no_stored else {n: v for n, v in stored.items() if no_again or v != recomputed[n]},
            None if no_again else {n: v for n, v in recomputed.items() if no_stored or v != stored[n]},
        )


def _differs(rollup: Rollup, name: str) -> Composed:
    """When two values of a column are not equal. A sum of floats may differ by rounding, in proportion to what was added up."""
    floating = any(m.name == name and m.merge == "add" and m.pg_type == "double precision" for m in rollup.measures)
    sides = {"s": Identifier("s", name), "a": Identifier("a", name)}
    if not floating:
        return SQL("{s} is distinct from {a}").format(**sides)
    stored = {m.name for m in rollup.measures}
    sizes: list[Composable] = [SQL("abs({s})").format(**sides), SQL("abs({a})").format(**sides)]
    if {"count", "min", "max"} <= stored:
        sizes += [SQL("abs(s.min) * s.count"), SQL("abs(s.max) * s.count")]
    return SQL("(({s} is null) <> ({a} is null) or abs({s} - {a}) > {tolerance} * greatest({sizes}))").format(
        **sides, tolerance=Literal(FLOAT_TOLERANCE), sizes=SQL(", ").join(sizes)
    )


def _views(archive: Archive | None) -> Frames:
    return lambda connection, start, end: raw_frames(connection, "view", start, end, archive)
