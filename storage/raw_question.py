"""A question to a rollup that is answered from the raw events, of the table and of the archive, instead of the stored rows.

The events are rolled up by the same engine as the sink's, and the rows that come out are merged by the same SQL as stored ones.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import polars as pl
from psycopg.sql import SQL, Identifier

from aggregators.engine import aggregate
from aggregators.frames import schema
from aggregators.rollup import GRAINS, Measure
from storage.archive import Archive, ArchivedFile
from storage.archive_columns import frame_of, selected
from storage.archive_write import PIECE
from storage.arrays import array
from storage.database import AsyncConn
from storage.named import load
from storage.raw_events import archived_frames
from storage.rollup_query import BadQuery, Plan, Prepared, Question, Rows, asked_figures, composed, planned, read_rows
from storage.rollup_statement import needed_measures, sent_columns
from storage.sketch_merge import merged

_SQL = load("archive")
_DAY = dt.timedelta(days=1)

MAX_RAW_EVENTS = 2_000_000
"""Events that one question reads at most."""
MAX_RAW_ROWS = 500_000
"""Rolled-up rows, by bucket and keys, that its events may come to: they are sent to the database in one statement."""
MAX_RAW_DAYS = 366


async def ask_raw(connection: AsyncConn, question: Question, *, archive: Archive | None) -> Rows:
    """Answers a question inside a transaction of `Database.read_raw`. Raises BadQuery, and ArchiveUnavailable where a file is damaged.

    Measures that the rollup does not hold yet are answered too. Files of the archive are read one by one, each verified before.
    """
    needed = needed_measures(question.rollup, asked_figures(question))
    plan = planned(question, needed)
    if plan.end - plan.start > MAX_RAW_DAYS * _DAY:
        raise BadQuery("from", f"source=raw reads at most {MAX_RAW_DAYS} days; ask for fewer, or for source=rollup")
    # The finest of the grains that would be read divides both ends of the range, and every asked bucket.
    grain = min((part for part, _, _ in plan.parts), key=lambda name: GRAINS[name])
    plan = Plan(plan.start, plan.end, [(grain, plan.start, plan.end)], plan.starts)
    wanted = [*sent_columns(question.rollup, needed)]
    found: list[pl.DataFrame] = []
    events = rows = 0
    async with aclosing(_frames(connection, archive, question.rollup.event, plan.start, plan.end)) as frames:
        async for frame in frames:
            events += frame.height
            if events > MAX_RAW_EVENTS:
                raise BadQuery(
                    "from",
                    f"source=raw reads at most {MAX_RAW_EVENTS:,} events, and this range has more; ask for a shorter one,"
                    " or for source=rollup",
                )
            parts = await asyncio.to_thread(_rolled_up, question, grain, frame, wanted)
            found += parts
            rows += sum(part.height for part in parts)
            if rows > MAX_RAW_ROWS:
                raise BadQuery(
                    "from",
                    f"source=raw takes at most {MAX_RAW_ROWS:,} buckets of keys, and this range has more; ask for a shorter one,"
                    " for less by filter=, or for source=rollup",
                )
    sent = await asyncio.to_thread(_wires, question, wanted, found)
    statement = composed(question, plan, question.measures, sent)
    return await read_rows(connection, Prepared(question, asked_figures(question), plan, *statement))


async def _frames(
    connection: AsyncConn, archive: Archive | None, kind: str, start: dt.datetime, end: dt.datetime
) -> AsyncGenerator[pl.DataFrame, None]:
    """The organization's raw events of a range, as frames of bounded size."""
    bounds = {"kind": kind, "first": start.astimezone(dt.UTC).date(), "last": (end + _DAY).astimezone(dt.UTC).date()}
    files = [ArchivedFile(*row) for row in await (await connection.execute(_SQL["own_files"], bounds)).fetchall()]
    types = schema(kind)
    statement = SQL("select {} from {} where time >= %s and time < %s").format(
        selected(types), Identifier("app", f"event_{kind}")
    )
    async with connection.cursor(name="raw_question") as cursor:
        await cursor.execute(statement, (start, end))
        while rows := await cursor.fetchmany(PIECE):
            yield await asyncio.to_thread(frame_of, types, rows)
    for file in files:
        if file.first_time < end and file.last_time >= start:
            if archive is None:
                raise BadQuery(
                    "source", f"the raw events of {file.day.isoformat()} are archived, and there is no archive"
                )
            pieces = archived_frames(archive, file, start, end)
            while (frame := await asyncio.to_thread(_next, pieces)) is not None:
                yield frame


def _next(pieces: Iterator[pl.DataFrame]) -> pl.DataFrame | None:
    return next(pieces, None)


def _rolled_up(question: Question, grain: str, frame: pl.DataFrame, wanted: list[str]) -> list[pl.DataFrame]:
    """The rows of the grain that the filters let through, of one frame of raw events; these columns of them."""
    rows = [part[grain] for part in aggregate(question.rollup, frame)]
    for key, allowed in question.filters.items():
        rows = [part.filter(pl.col(key).is_in(list(allowed))) for part in rows]
    return [part.select(wanted) for part in rows if part.height]


def _wires(question: Question, wanted: list[str], found: list[pl.DataFrame]) -> list[Any]:
    """The rows as one array a column, in their order."""
    if not found:
        return ["{}"] * len(wanted)
    rows = pl.concat(found)
    sketched = {m.name: m for m in question.rollup.measures if m.merge in ("bins", "registers")}
    return [_sketches(sketched[name], rows[name]) if name in sketched else array(rows[name]) for name in wanted]


def _sketches(measure: Measure, column: pl.Series) -> list[bytes | None]:
    """A column of sketches as they are stored."""
    sketches = merged(measure, column, [])
    places = zip(sketches.first, sketches.size, strict=True)
    return [sketches.written[first - 1 : first - 1 + size] or None for first, size in places]
