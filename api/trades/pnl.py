"""`GET /api/unify/v1/reports/pnl`: profit and loss by the user's days, with the equity they make and its statistics."""

from __future__ import annotations

from aiohttp import web

from aggregators import calendar
from api.auth.principal import caller
from api.errors import Problem
from api.freshness import RECEIVED, fresh, same_minute
from api.routing import json_answer, parse_query
from api.services import services
from api.trades.equity import StartingEquity, starting_equities
from api.trades.figures import totals
from api.trades.parameters import MAX_ROWS, TradeQuery, asked_period, asked_rows, question, trade_filters
from api.trades.report import AMOUNTS, pnl_report
from storage.feed import watermark


class PnlQuery(TradeQuery, kw_only=True):
    """Which trades. Days are those of `tz`: `time_range` counts local days, today included; `from` and `to` are dates, inclusive.

    `starting_equity` is what drawdowns and ratios start from: a decimal of at least 0, or one for each currency (`USD:10000,BTC:0.5`).
    """

    starting_equity: StartingEquity | None = None


async def pnl(request: web.Request) -> web.StreamResponse:
    """Profit and loss by local day."""
    parameters, parts = parse_query(request, PnlQuery), services(request)
    principal = caller(request)
    filters = trade_filters(parameters, principal)
    stated = starting_equities(parameters.starting_equity)
    now = parts.now()
    async with parts.database.read(principal.organization) as connection:
        mark = await watermark(connection, "trade")
        period = await asked_period(connection, parameters, filters, mark.time_zone, now)
        asked = question(period, filters, (*AMOUNTS, "trades"), ("currency",), grain="1d", limit=MAX_ROWS)
        rows = await asked_rows(connection, asked, "currency: ask for one")
        found = await totals(connection, period, filters)
    if len(found.parts) * calendar.count_at_most(period.start, period.end, "1d") > MAX_ROWS:
        raise Problem(
            400, f"currency: ask for one; {len(found.parts)} are too many for this range", parameter="currency"
        )
    report = pnl_report(rows, found, period, stated, parameters.currency, now=now, as_of=mark.as_of)
    return fresh(json_answer(report), mark.as_of, request, until=same_minute(request[RECEIVED]))
