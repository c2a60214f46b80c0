"""`GET /api/unify/v1/analytics/trades`: figures of trades over time and by group, and the latest trades themselves."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec
from aiohttp import web

from api.auth.principal import caller
from api.errors import Problem
from api.freshness import RECEIVED, fresh, same_minute
from api.routing import described, json_answer, parse_query
from api.services import services
from api.trades.figures import MEASURES, TradeFigures, figures_of, totals
from api.trades.groups import PagedQuery, TradeGroup, checked_keys, checked_sort, page_of_groups
from api.trades.parameters import MAX_ROWS, asked_period, asked_rows, local_date, question, trade_filters
from api.trades.recent import MAX_RECENT, RecentList, recent_list
from storage.feed import watermark


class TradesQuery(PagedQuery, kw_only=True):
    """Which trades, the local days, weeks or months (`grain`) of their series, and the keys (`group_by`, with commas) of their groups.

    `limit`, `page`, `sort` and `order` choose the groups. `recent` lists so many of the latest trades, and `cursor` the ones before.
    """

    grain: Literal["1d", "1w", "1mo"] = "1d"
    group_by: Annotated[str, described("symbol", "broker,strategy")] | None = None
    recent: Annotated[int, msgspec.Meta(ge=0, le=MAX_RECENT)] = 0
    cursor: str | None = None


class TradePoint(TradeFigures, kw_only=True):
    """Figures of one local day, week or month, which begins at `date`, in one currency."""

    date: str
    currency: str


class TradeAnalysis(msgspec.Struct, rename="camel", kw_only=True):
    """Figures of trades. `currency` is the one of `total`'s amounts; null where there are several, told apart in `by_currency`.

    `series` has a row for each bucket and currency with trades. `groups` is null without `group_by`, `trades` without `recent`.
    """

    time_range: str
    from_: str = msgspec.field(name="from")
    to: str
    tz: str
    grain: str
    currency: str | None
    total: TradeFigures
    by_currency: dict[str, TradeFigures] | None = msgspec.field(name="by_currency")
    series: list[TradePoint]
    groups: list[TradeGroup] | None
    group_count: int | None
    page: int
    limit: int
    trades: RecentList | None
    as_of: dt.datetime = msgspec.field(name="as_of")


async def trades(request: web.Request) -> web.StreamResponse:
    """Figures of trades over time, by group, and the latest of them."""
    parameters, parts = parse_query(request, TradesQuery), services(request)
    principal = caller(request)
    filters = trade_filters(parameters, principal)
    keys = checked_keys(parameters.group_by)
    checked_sort(parameters)
    if parameters.cursor is not None and not parameters.recent:
        raise Problem(400, "cursor: needs recent, how many trades to list", parameter="cursor")
    async with parts.database.read(principal.organization) as connection:
        mark = await watermark(connection, "trade")
        period = await asked_period(connection, parameters, filters, mark.time_zone, parts.now())
        found = await totals(connection, period, filters)
        asked = question(period, filters, MEASURES, ("currency",), grain=parameters.grain, limit=MAX_ROWS)
        rows = await asked_rows(connection, asked, "grain: ask for a coarser one")
        groups = await page_of_groups(connection, period, filters, keys, parameters) if keys else None
        recent = (
            await recent_list(connection, period, filters, parameters.recent, parameters.cursor, parts.archive)
            if parameters.recent
            else None
        )
    answer = TradeAnalysis(
        time_range=period.label,
        from_=period.first,
        to=period.last,
        tz=period.tz.key,
        grain=parameters.grain,
        currency=found.currency(parameters.currency),
        total=found.total,
        by_currency=found.by_currency,
        series=[
            TradePoint(date=local_date(time, period.tz), currency=currency, **figures_of(values))
            for time, currency, *values in rows
        ],
        groups=groups.groups if groups is not None else None,
        group_count=groups.count if groups is not None else None,
        page=parameters.page,
        limit=parameters.limit,
        trades=recent,
        as_of=mark.as_of,
    )
    return fresh(json_answer(answer), mark.as_of, request, until=same_minute(request[RECEIVED]))
