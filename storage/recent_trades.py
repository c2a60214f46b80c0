"""The latest trades themselves, from the raw events. The rollup tells in which quarters of an hour they are, so only those are read.

The table of raw events has no index by organization and time: it would cost every event written nearly as much as its row (COPY took
twice as long). Its block ranges, and the chunks of a hypertable, find a quarter of an hour as well, whatever else the table holds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier

from aggregators.definitions.trade import TRADE_PNL
from storage.database import AsyncConn
from storage.filled import require
from storage.rollup_query import plain_number
from storage.rollup_sql import table

_QUARTER = dt.timedelta(minutes=15)
MAX_QUARTERS = 50
"""Quarters of an hour that one page reads at most: where trades are far apart it is shorter, and goes on behind them."""
DENSE = 10_000
"""A quarter with more trades than that is read from its end in small pieces."""

_COLUMNS = (
    *("time", "source", "id", "trade_id", "user_id", "broker", "symbol", "strategy", "side"),
    *("quantity", "entry_price", "exit_price", "fees", "pnl", "currency", "opened_at"),
)

Place = tuple[dt.datetime, str, str]
"""Time, source and id of a trade: the order of the list, latest first."""


@dataclass(frozen=True)
class RecentTrades:
    """Rows of raw events, latest first. `next` is behind which place the next page begins; None at the end.

    `archived`: the rollup counts trades of this range whose raw events are no longer in the table.
    """

    rows: list[dict[str, Any]]
    next: Place | None
    archived: bool


@dataclass
class _Quarter:
    """A quarter of an hour that has trades, and how many."""

    start: dt.datetime
    trades: int


async def recent_trades(
    connection: AsyncConn,
    start: dt.datetime,
    end: dt.datetime,
    filters: Mapping[str, tuple[str, ...]],
    limit: int,
    before: Place | None = None,
) -> RecentTrades:
    """The latest trades of [start, end), which are bounds of quarters of an hour; those before a place where one is given.

    `filters` hold per key of the rollup the values allowed, an empty strategy meaning none. Inside an organization's read transaction.
    Raises NotFilled.
    """
    await require(connection, TRADE_PNL.name, "15m", "trades")
    if before is not None:
        end = min(end, before[0] + dt.timedelta(microseconds=1))
    quarters = await _quarters(connection, start, end, filters)
    cut = len(quarters) > MAX_QUARTERS
    quarters = quarters[:MAX_QUARTERS]
    if not quarters:
        return RecentTrades([], None, archived=False)
    last = quarters[-1].start
    # How many there must be, but for the quarter of the place, of which some stood on the page before.
    whole = [quarter for quarter in quarters if before is None or quarter.start + _QUARTER <= before[0]]
    expected = sum(quarter.trades for quarter in whole)
    rows: list[dict[str, Any]] = []
    while quarters and len(rows) <= limit:
        rows += await _next(connection, quarters, end, filters, limit + 1 - len(rows), before)
    if len(rows) > limit:
        return RecentTrades(rows[:limit], _place(rows[limit - 1]), archived=False)
    bound = whole[0].start + _QUARTER if whole else start
    archived = sum(row["time"] < bound for row in rows) < expected
    return RecentTrades(rows, (last, "", "") if cut and not archived else None, archived)


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
    connection: AsyncConn, start: dt.datetime, end: dt.datetime, filters: Mapping[str, tuple[str, ...]]
) -> list[_Quarter]:
    """The last quarters with trades, latest first, one more than a page may read."""
    text = SQL(
        "select bucket, sum(trades)::bigint from {} where bucket >= %s and bucket < %s{} group by bucket"
        " order by bucket desc limit %s"
    ).format(table(TRADE_PNL, "15m", "app"), _conditions(filters))
    parameters = [start, end, *(list(values) for values in filters.values()), MAX_QUARTERS + 1]
    return [_Quarter(*row) for row in await (await connection.execute(text, parameters)).fetchall()]


async def _next(
    connection: AsyncConn,
    quarters: list[_Quarter],
    end: dt.datetime,
    filters: Mapping[str, tuple[str, ...]],
    wanted: int,
    before: Place | None,
) -> list[dict[str, Any]]:
    """The next trades, latest first, with the quarters they are in taken from the list: as many as hold the wanted number."""
    if quarters[0].trades > DENSE:
        return await _from_the_end(connection, quarters.pop(0), end, filters, wanted, before)
    ranges: list[tuple[dt.datetime, dt.datetime]] = []
    held = 0
    while quarters and held < wanted and quarters[0].trades <= DENSE:
        quarter = quarters.pop(0)
        held += quarter.trades
        if ranges and ranges[-1][0] == quarter.start + _QUARTER:
            ranges[-1] = (quarter.start, ranges[-1][1])
        else:
            ranges.append((quarter.start, min(end, quarter.start + _QUARTER)))
    return await _read(connection, ranges, filters, wanted, before)


async def _from_the_end(
    connection: AsyncConn,
    quarter: _Quarter,
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
        rows += await _read(connection, [(low, high)], filters, wanted - len(rows), before)
        high, piece = low, piece * 8
    return rows


async def _read(
    connection: AsyncConn,
    ranges: Sequence[tuple[dt.datetime, dt.datetime]],
    filters: Mapping[str, tuple[str, ...]],
    wanted: int,
    before: Place | None,
) -> list[dict[str, Any]]:
    text, parameters = compose_read(ranges, filters, wanted, before)
    async with connection.cursor(row_factory=dict_row, binary=True) as cursor:
        await cursor.execute(text, parameters)
        return [{name: plain_number(value) for name, value in row.items()} async for row in cursor]


def compose_read(
    ranges: Sequence[tuple[dt.datetime, dt.datetime]],
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
