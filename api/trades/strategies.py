"""`GET /api/unify/v1/analytics/strategies`: what each strategy contributes, how far it fell, and its ratios."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from aiohttp import web

from aggregators import calendar, statistics
from aggregators.record import days_so_far
from api.auth.principal import caller
from api.freshness import RECEIVED, fresh, same_minute
from api.routing import json_answer, parse_query
from api.services import services
from api.trades.equity import Drawdown, StartingEquity, drawdown, ratios, starting_equities, starting_equity
from api.trades.figures import TradeFigures, totals
from api.trades.groups import PagedQuery, TradeGroup, checked_sort, page_of_groups
from api.trades.parameters import (
    MAX_ROWS,
    Filters,
    Period,
    asked_period,
    asked_rows,
    local_date,
    question,
    trade_filters,
)
from storage.database import AsyncConn
from storage.feed import watermark
from storage.rollup_query import plain_number


class StrategiesQuery(PagedQuery, kw_only=True):
    """Which trades, and which page of their strategies: `limit` a page, ordered by `sort` within each currency.

    `starting_equity` is what each strategy's drawdown and ratios start from, as in `/reports/pnl`.
    """

    starting_equity: StartingEquity | None = None


class StrategyDrawdown(msgspec.Struct, rename="camel"):
    """A strategy's drawdown: that of `/reports/pnl`, with names as TradeFlow's others are."""

    amount: Any
    percent: Any
    peak_date: str | None
    trough_date: str
    recovery_date: str | None
    peak_equity: Any
    trough_equity: Any


class StrategyFigures(TradeFigures, kw_only=True):
    """One strategy in one currency; `strategy` is null for trades without one. Shares are in % of all trades in the currency.

    Drawdowns and ratios are those of its daily net results from the starting equity on, as in `/reports/pnl`.
    """

    strategy: str | None
    currency: str
    share_of_trades: Any
    share_of_pnl: Any = msgspec.field(name="shareOfPnL")
    starting_equity: Any
    drawdown: StrategyDrawdown | None
    relative_drawdown: StrategyDrawdown | None
    sharpe: Any
    sortino: Any


class StrategyAnalysis(msgspec.Struct, rename="camel", kw_only=True):
    """A page of strategies, in each currency ordered by `sort`. `total` and `by_currency` are of all of them."""

    time_range: str
    from_: str = msgspec.field(name="from")
    to: str
    tz: str
    currency: str | None
    total: TradeFigures
    by_currency: dict[str, TradeFigures] | None = msgspec.field(name="by_currency")
    strategies: list[StrategyFigures]
    strategy_count: int
    page: int
    limit: int
    as_of: dt.datetime = msgspec.field(name="as_of")


async def strategies(request: web.Request) -> web.StreamResponse:
    """Figures of each strategy."""
    parameters, parts = parse_query(request, StrategiesQuery), services(request)
    principal = caller(request)
    filters = trade_filters(parameters, principal)
    stated = starting_equities(parameters.starting_equity)
    checked_sort(parameters)
    now = parts.now()
    async with parts.database.read(principal.organization) as connection:
        mark = await watermark(connection, "trade")
        period = await asked_period(connection, parameters, filters, mark.time_zone, now)
        found = await totals(connection, period, filters)
        page = await page_of_groups(connection, period, filters, ("strategy",), parameters)
        daily = await _daily(connection, period, filters, page.groups)
    days = list(calendar.buckets(period.start, period.end, "1d", period.tz))
    past = days[: days_so_far(days, (max(one) for one in daily.values()), now)]
    alone = len(found.parts) == 1
    answer = StrategyAnalysis(
        time_range=period.label,
        from_=period.first,
        to=period.last,
        tz=period.tz.key,
        currency=found.currency(parameters.currency),
        total=found.total,
        by_currency=found.by_currency,
        strategies=[
            _strategy(
                group,
                found.parts[group.currency],
                daily.get((group.currency, group.strategy or ""), {}),
                past,
                starting_equity(stated, group.currency, alone=alone),
                period,
            )
            for group in page.groups
        ],
        strategy_count=page.count,
        page=parameters.page,
        limit=parameters.limit,
        as_of=mark.as_of,
    )
    return fresh(json_answer(answer), mark.as_of, request, until=same_minute(request[RECEIVED]))


_Nets = Mapping[dt.datetime, Decimal | int]


async def _daily(
    connection: AsyncConn, period: Period, filters: Filters, groups: list[TradeGroup]
) -> dict[tuple[str, str], dict[dt.datetime, Decimal | int]]:
    """The nets of each day with trades, by currency and strategy, of a page of strategies."""
    if not groups:
        return {}
    of_page = filters | {
        "strategy": tuple({str(group.strategy or "") for group in groups}),
        "currency": tuple({group.currency for group in groups}),
    }
    asked = question(period, of_page, ("net",), ("currency", "strategy"), grain="1d", limit=MAX_ROWS)
    found: dict[tuple[str, str], dict[dt.datetime, Decimal | int]] = {}
    for time, currency, strategy, net in await asked_rows(connection, asked, "limit: ask for fewer strategies"):
        found.setdefault((currency, strategy), {})[time.astimezone(dt.UTC)] = net
    return found


def _strategy(
    group: TradeGroup, whole: TradeFigures, found: _Nets, past: list[dt.datetime], starting: Decimal, period: Period
) -> StrategyFigures:
    # Days without a trade change nothing but the number of days, and are many: a strategy may rest for years.
    days = sorted(found)
    nets = [found[day] for day in days]
    dates = [local_date(day, period.tz) for day in days]
    equity = statistics.equity_curve(nets, starting)
    resting = [0] if past and days[-1:] != past[-1:] else []
    of_days = ratios([*nets, *resting], starting, days=len(past) if period.whole_days else 0)
    assert group.strategy is not msgspec.UNSET
    return StrategyFigures(
        **{name: getattr(group, name) for name in TradeFigures.__struct_fields__},
        strategy=group.strategy,
        currency=group.currency,
        share_of_trades=plain_number(statistics.rounded_share(group.total_trades, whole.total_trades)),
        share_of_pnl=plain_number(statistics.rounded_share(group.total_pnl, whole.total_pnl)),
        starting_equity=plain_number(starting),
        drawdown=_camel(drawdown(statistics.deepest_fall(equity, starting), dates)),
        relative_drawdown=_camel(drawdown(statistics.deepest_relative_fall(equity, starting), dates)),
        sharpe=of_days.sharpe,
        sortino=of_days.sortino,
    )


def _camel(found: Drawdown | None) -> StrategyDrawdown | None:
    return StrategyDrawdown(**msgspec.structs.asdict(found)) if found is not None else None
