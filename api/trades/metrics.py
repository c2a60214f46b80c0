"""`GET /api/unify/v1/metrics`: totals of a range, and how many users traded in it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from aiohttp import web

from api.auth.principal import caller
from api.freshness import RECEIVED, fresh, same_minute
from api.routing import json_answer, parse_query
from api.services import services
from api.trades.figures import win_rate
from api.trades.parameters import TradeQuery, asked_period, asked_rows, question, trade_filters
from storage.feed import watermark
from storage.rollup_ranking import count_groups


class TradeMetrics(msgspec.Struct, rename="camel", kw_only=True):
    """TradeFlow's metrics. `totalPnL` is net; with several currencies it is null and stands under `by_currency`.

    `activeUsers`: whose trades are in it; of a member, who sees their own only, 1 or 0.
    """

    total_trades: int
    active_users: int
    total_pnl: Any = msgspec.field(name="totalPnL")
    win_rate: Any
    time_range: str
    by_currency: dict[str, Any] | None = msgspec.field(name="by_currency", default=None)
    as_of: dt.datetime = msgspec.field(name="as_of")


async def metrics(request: web.Request) -> web.StreamResponse:
    """Totals of a range."""
    parameters, parts = parse_query(request, TradeQuery), services(request)
    principal = caller(request)
    filters = trade_filters(parameters, principal)
    async with parts.database.read(principal.organization) as connection:
        mark = await watermark(connection, "trade")
        period = await asked_period(connection, parameters, filters, mark.time_zone, parts.now())
        asked = question(period, filters, ("trades", "wins", "net"), ("currency",))
        rows = await asked_rows(connection, asked, "currency: ask for one")
        users = await count_groups(connection, question(period, filters, ("trades",), ("user_id",)))
    trades = sum(row[1] for row in rows)
    wins = sum(row[2] for row in rows)
    single = len(rows) < 2
    answer = TradeMetrics(
        total_trades=trades,
        active_users=users,
        total_pnl=(rows[0][3] if rows else 0) if single else None,
        win_rate=win_rate(wins, trades),
        time_range=period.label,
        by_currency=None
        if single
        else {row[0]: {"totalTrades": row[1], "totalPnL": row[3], "winRate": win_rate(row[2], row[1])} for row in rows},
        as_of=mark.as_of,
    )
    return fresh(json_answer(answer), mark.as_of, request, until=same_minute(request[RECEIVED]))
