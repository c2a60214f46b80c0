"""The latest trades themselves, from the raw events. The rollup tells on which days and in which quarters of an hour they are.

So only those quarters are read, and of the rollup's finest rows only those of the days.

The table of raw events has no index by organization and time: it would cost every event written nearly as much as its row (COPY took
twice as long). Its block ranges, and the chunks of a hypertable, find a quarter of an hour as well, whatever else the table holds.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier

from aggregators import calendar
from aggregators.definitions.trade import TRADE_PNL
from storage.archive import Archive, ArchivedFile
from storage.archived_trades import archived_trades
from storage.database import AsyncConn
from storage.filled import require
from storage.named import load
from storage.rollup_query import plain_number
from storage.rollup_sql import table

_DAY, _QUARTER = dt.timedelta(days=1), dt.timedelta(minutes=15)
_UTC = calendar.zone("UTC")
_DAYS_AT_ONCE = 50
MAX_QUARTERS = 50
"""Quarters of an hour that one page reads at most: where trades are far apart it is shorter, and goes on behind them."""
DENSE = 10_000
"""A day or a quarter with more trades than that is read from its end in small pieces."""

_COLUMNS = (
    *("time", "source", "id", "trade_id", "user_id", "broker", "symbol", "strategy", "side"),
    *("quantity", "entry_price", "exit_price", "fees", "pnl", "currency", "opened_at"),
)

Place = tuple[dt.datetime, str, str]
"""Time, source and id of a trade: the order of the list, latest first."""


@dataclass(frozen=True)
class RecentTrades:
    """Rows of raw events, latest first. `next` is behind which place the next page begins; None at the end.

    `archived`: the rollup counts trades of this range whose raw events are neither in the table nor in the archive.
    """

    rows: list[dict[str, Any]]
    next: Place | None
    archived: bool


Range = tuple[dt.datetime, dt.datetime]


@dataclass
class _Bucket:
    """A day or a quarter of an hour that has trades, and how many."""

    start: dt.datetime
    trades: int


async def recent_trades(
    connection: AsyncConn,
    start: dt.datetime,
    end: dt.datetime,
    filters: Mapping[str, tuple[str, ...]],
    limit: int,
    before: Place | None = None,
    *,
    archive: Archive | None = None,
) -> RecentTrades:
    """The latest trades of [start, end), which are bounds of quarters of an hour; those before a place where one is given.

    `filters` hold per key of the rollup the values allowed, an empty strategy meaning none. Inside an organization's read transaction.
    Trades that were dropped from the raw table are read from the archive. Raises NotFilled, and ArchiveDamaged.
    """
    for grain in ("15m", "1d"):
        await require(connection, TRADE_PNL.name, grain, "trades")
    if before is not None:
        end = min(end, before[0] + dt.timedelta(microseconds=1))
    raw = await _raw_trades(connection, archive, start, end)
    rows: list[dict[str, Any]] = []
    taken: list[_Bucket] = []
    cut = False
    async with aclosing(_quarters(connection, start, end, filters, limit + 1)) as found:
        async for quarters in found:
            room = MAX_QUARTERS - len(taken)
            cut = len(quarters) > room
            del quarters[room:]
            while quarters and len(rows) <= limit:
                some = _enough(quarters, limit + 1 - len(rows))
                taken += some
                rows += await _trades_of(raw, some, end, filters, limit + 1 - len(rows), before)
            if cut or len(rows) > limit:
                break
    if len(rows) > limit:
        return RecentTrades(rows[:limit], _place(rows[limit - 1]), archived=False)
    # How many there must be, but for the quarter of the place, of which some stood on the page before.
    whole = [quarter for quarter in taken if before is None or quarter.start + _QUARTER <= before[0]]
    bound = whole[0].start + _QUARTER if whole else start
    archived = sum(row["time"] < bound for row in rows) < sum(quarter.trades for quarter in whole)
    return RecentTrades(rows, (taken[-1].start, "", "") if cut and not archived else None, archived)


@dataclass(frozen=True)
class _RawTrades:
    """Where trades of a range are: in the raw table, and in these files of the archive."""

    connection: AsyncConn
    archive: Archive | None
    files: list[ArchivedFile]


async def _raw_trades(
    connection: AsyncConn, archive: Archive | None, start: dt.datetime, end: dt.datetime
) -> _RawTrades:
    if archive is None:
        return _RawTrades(connection, None, [])
    bounds = {"kind": "trade", "first": start.astimezone(dt.UTC).date(), "last": (end + _DAY).astimezone(dt.UTC).date()}
    found = await (await connection.execute(load("archive")["own_files"], bounds)).fetchall()
    return _RawTrades(connection, archive, [ArchivedFile(*row) for row in found])


async def first_trade(connection: AsyncConn, users: Sequence[str] | None) -> dt.datetime | None:
    """The quarter of an hour of the first trade, of these users or of all; None where there is none. Raises NotFilled."""
    await require(connection, TRADE_PNL.name, "15m", "trades")
    found = SQL("select min(bucket) from {}{}").format(
        table(TRADE_PNL, "15m", "app"), SQL("" if users is None else " where user_id = any(%s)")
    )
    row = await (await connection.execute(found, None if users is None else [list(users)])).fetchone()
    return row[0] if row is not None else None


def _place(row: Mapping[str, Any]) -> Place:
    return row["time"], row["source"], row["id"]


def _conditions(filters: Mapping[str, tuple[str, ...]]) -> Composed:
    """The conditions of the filters on the rollup, which has an empty text for an absent strategy."""
    return SQL("").join(SQL(" and {} = any(%s)").format(Identifier(key)) for key in filters)


async def _quarters(
    connection: AsyncConn, start: dt.datetime, end: dt.datetime, filters: Mapping[str, tuple[str, ...]], wanted: int
) -> AsyncGenerator[list[_Bucket], None]:
    """The quarters with trades, latest first: as many at a time as should hold the wanted number, while more are asked for."""
    high, piece = end, _DAY
    while high > start:
        low = max(calendar.floor(start, "1d", _UTC), calendar.floor(high - piece, "1d", _UTC))
        days = await _buckets(connection, "1d", [(low, high)], filters)
        for ranges in _windows(days, start, end, wanted):
            found = await _buckets(connection, "15m", ranges, filters)
            if found:
                yield found
        high, piece = low, piece * 8


def _windows(days: Sequence[_Bucket], start: dt.datetime, end: dt.datetime, wanted: int) -> Iterator[list[Range]]:
    """The ranges in which quarters are looked for, latest first: days together, a dense one by itself in pieces from its end."""
    together: list[Range] = []
    held = 0
    for day in days:
        low, high = max(start, day.start), min(end, day.start + _DAY)
        if day.trades <= DENSE:
            together.append((low, high))
            held += day.trades
        if together and (day.trades > DENSE or held >= wanted or len(together) == _DAYS_AT_ONCE):
            yield together
            together, held = [], 0
        piece = dt.timedelta(hours=1)
        while day.trades > DENSE and high > low:
            begin = max(low, calendar.floor(high - piece, "15m", _UTC))
            yield [(begin, high)]
            high, piece = begin, piece * 4
    if together:
        yield together


async def _buckets(
    connection: AsyncConn, grain: str, ranges: Sequence[Range], filters: Mapping[str, tuple[str, ...]]
) -> list[_Bucket]:
    """The buckets with trades that begin in these ranges, latest first."""
    part = SQL("select bucket, trades from {} where bucket >= %s and bucket < %s{}").format(
        table(TRADE_PNL, grain, "app"), _conditions(filters)
    )
    text = SQL("select bucket, sum(trades)::bigint from ({}) as part group by bucket order by bucket desc").format(
        SQL(" union all ").join([part] * len(ranges))
    )
    values = [list(allowed) for allowed in filters.values()]
    parameters = [value for bounds in ranges for value in (*bounds, *values)]
    return [_Bucket(*row) for row in await (await connection.execute(text, parameters)).fetchall()]


def _enough(quarters: list[_Bucket], wanted: int) -> list[_Bucket]:
    """Takes the first quarters from the list, as many as hold the wanted number; a dense one by itself."""
    taken = [quarters.pop(0)]
    held = taken[0].trades
    while quarters and held < wanted and held + quarters[0].trades <= DENSE:
        taken.append(quarters.pop(0))
        held += taken[-1].trades
    return taken


async def _trades_of(
    raw: _RawTrades,
    quarters: Sequence[_Bucket],
    end: dt.datetime,
    filters: Mapping[str, tuple[str, ...]],
    wanted: int,
    before: Place | None,
) -> list[dict[str, Any]]:
    """The latest trades of some quarters."""
    if quarters[0].trades > DENSE:
        return await _from_the_end(raw, quarters[0], end, filters, wanted, before)
    ranges: list[Range] = []
    for quarter in quarters:
        if ranges and ranges[-1][0] == quarter.start + _QUARTER:
            ranges[-1] = (quarter.start, ranges[-1][1])
        else:
            ranges.append((quarter.start, min(end, quarter.start + _QUARTER)))
    return await _read(raw, ranges, filters, wanted, before)


async def _from_the_end(
    raw: _RawTrades,
    quarter: _Bucket,
    end: dt.datetime,
    filters: Mapping[str, tuple[str, ...]],
    wanted: int,
    before: Place | None,
) -> list[dict[str, Any]]:
    """The last trades of a quarter, read in pieces: first one that should hold them, if they are spread evenly, then longer ones."""
    rows: list[dict[str, Any]] = []
    high = min(end, quarter.start + _QUARTER)
    piece = _QUARTER * 4 * wanted / quarter.trades
    while high > quarter.start and len(rows) < wanted:
        low = max(quarter.start, high - piece)
        rows += await _read(raw, [(low, high)], filters, wanted - len(rows), before)
        high, piece = low, piece * 8
    return rows


async def _read(
    raw: _RawTrades,
    ranges: Sequence[Range],
    filters: Mapping[str, tuple[str, ...]],
    wanted: int,
    before: Place | None,
) -> list[dict[str, Any]]:
    text, parameters = compose_read(ranges, filters, wanted, before)
    async with raw.connection.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(text, parameters)
        rows = await cursor.fetchall()
    if raw.archive is not None and raw.files:
        more = await asyncio.to_thread(
            archived_trades, raw.archive, raw.files, _COLUMNS, ranges, filters, wanted, before
        )
        rows = sorted([*rows, *more], key=_place, reverse=True)[:wanted] if more else rows
    return [{name: plain_number(value) for name, value in row.items()} for row in rows]


def compose_read(
    ranges: Sequence[Range],
    filters: Mapping[str, tuple[str, ...]],
    wanted: int,
    before: Place | None,
) -> tuple[Composed, list[Any]]:
    """The SQL that reads the latest trades of some ranges of time, and its parameters."""
    conditions = SQL("").join(
        SQL(" and coalesce(strategy, '') = any(%s)")
        if key == "strategy"
        else SQL(" and {} = any(%s)").format(Identifier(key))
        for key in filters
    )
    if before is not None:
        conditions += SQL(" and (time, source, id) < (%s, %s, %s)")
    columns = SQL(", ").join(Identifier(name) for name in _COLUMNS)
    part = SQL("select {} from app.event_trade where time >= %s and time < %s{}").format(columns, conditions)
    text = SQL("select * from ({}) as part order by time desc, source desc, id desc limit %s").format(
        SQL(" union all ").join([part] * len(ranges))
    )
    more = [*(list(values) for values in filters.values()), *(before or ())]
    return text, [*(value for low, high in ranges for value in (low, high, *more)), wanted]
