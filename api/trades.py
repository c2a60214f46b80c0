"""TradeFlow's figures: `/api/unify/v1/metrics` and `/api/unify/v1/reports/pnl`, by the user's days and exact."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from aggregators import calendar
from aggregators.definitions.trade import TRADE_PNL
from api import ranges
from api.auth.principal import Principal, caller
from api.errors import Problem
from api.freshness import fresh
from api.routing import Route, json_answer, parse_query
from api.services import services
from api.visibility import own_trades
from storage.database import AsyncConn
from storage.feed import watermark
from storage.rollup_query import Question, Rows, ask, exact_sum, plain_number

MAX_DAYS = 3_700
_AMOUNTS = ("profit", "loss", "net")


class TradeQuery(msgspec.Struct, kw_only=True):
    """Which trades. Days are those of `tz`: `time_range` counts local days, today included; `from` and `to` are dates, inclusive."""

    time_range: str | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    tz: str | None = None
    broker: str | None = None
    symbol: str | None = None
    strategy: str | None = None
    currency: str | None = None
    user_id: str | None = None


class TradeMetrics(msgspec.Struct, rename="camel", kw_only=True):
    """TradeFlow's metrics. `totalPnL` is net; with several currencies it is null and stands under `by_currency`."""

    total_trades: int
    active_users: int
    total_pnl: Any = msgspec.field(name="totalPnL")
    win_rate: Any
    time_range: str
    by_currency: dict[str, Any] | None = msgspec.field(name="by_currency", default=None)
    as_of: dt.datetime = msgspec.field(name="as_of")


class DailyPnl(msgspec.Struct):
    """One local day. Amounts are in the report's one currency; null where there are several."""

    date: str
    profit: Any
    loss: Any
    net: Any
    trades: int


class TotalPnl(msgspec.Struct):
    """The whole range."""

    profit: Any
    loss: Any
    net: Any
    trades: int


class CurrencyPnl(msgspec.Struct):
    """One currency's part of a report."""

    daily: list[DailyPnl]
    total: TotalPnl


class PnlReport(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Every day of the range. `currency` is the one of all amounts; null where there are several, told apart in `by_currency`."""

    daily: list[DailyPnl]
    total: TotalPnl | None
    as_of: dt.datetime
    tz: str
    currency: str | None
    by_currency: dict[str, CurrencyPnl] | None = None


class Period(msgspec.Struct, frozen=True):
    """A resolved range: its moments, and its local days where it has whole ones."""

    start: dt.datetime
    end: dt.datetime
    tz: ZoneInfo
    label: str


async def metrics(request: web.Request) -> web.StreamResponse:
    """Totals of a range."""
    parameters, parts = parse_query(request, TradeQuery), services(request)
    principal = caller(request)
    filters = _filters(parameters, principal)
    async with parts.database.read(principal.organization) as connection:
        mark = await watermark(connection, "trade")
        period = await _period(connection, parameters, mark.time_zone, parts.now())
        by_currency = await _ask(connection, period, filters, ("trades", "wins", "net"), ("currency",))
        users = await _ask(connection, period, filters, ("trades",), ("user_id",), limit=1_000_000)
    trades = sum(row[1] for row in by_currency.rows)
    wins = sum(row[2] for row in by_currency.rows)
    single = len(by_currency.rows) < 2
    found = TradeMetrics(
        total_trades=trades,
        active_users=len(users.rows),
        total_pnl=(by_currency.rows[0][3] if by_currency.rows else 0) if single else None,
        win_rate=_win_rate(wins, trades),
        time_range=period.label,
        by_currency=None
        if single
        else {
            row[0]: {"totalTrades": row[1], "totalPnL": row[3], "winRate": _win_rate(row[2], row[1])}
            for row in by_currency.rows
        },
        as_of=mark.as_of,
    )
    return fresh(json_answer(found), mark.as_of, request)


def _win_rate(wins: int, trades: int) -> Any:
    """Won trades among all, in per cent to two decimals; null without trades."""
    return plain_number(round(Decimal(100 * wins) / trades, 2)) if trades else None


async def pnl(request: web.Request) -> web.StreamResponse:
    """Profit and loss by local day."""
    parameters, parts = parse_query(request, TradeQuery), services(request)
    principal = caller(request)
    filters = _filters(parameters, principal)
    async with parts.database.read(principal.organization) as connection:
        mark = await watermark(connection, "trade")
        period = await _period(connection, parameters, mark.time_zone, parts.now())
        rows = await _ask(
            connection, period, filters, (*_AMOUNTS, "trades"), ("currency",), grain="1d", limit=1_000_000
        )
    report = pnl_report(rows, period, mark.as_of, parameters.currency)
    return fresh(json_answer(report), mark.as_of, request)


def pnl_report(rows: Rows, period: Period, as_of: dt.datetime, asked_currency: str | None) -> PnlReport:
    """Shapes rows of (time, currency, profit, loss, net, trades); every day of the period is in it."""
    days = list(calendar.buckets(period.start, period.end, "1d", period.tz))
    by_currency: dict[str, dict[dt.datetime, list[Any]]] = {}
    for time, currency, *amounts in rows.rows:
        by_currency.setdefault(currency, {})[time.astimezone(dt.UTC)] = amounts
    parts = {currency: _currency(days, found, period.tz) for currency, found in sorted(by_currency.items())}
    if len(parts) > 1:
        trades = [sum(part.daily[number].trades for part in parts.values()) for number in range(len(days))]
        blank = [
            DailyPnl(_date(day, period.tz), None, None, None, count) for day, count in zip(days, trades, strict=True)
        ]
        return PnlReport(daily=blank, total=None, as_of=as_of, tz=period.tz.key, currency=None, by_currency=parts)
    currency = next(iter(parts), asked_currency)
    only = parts[currency] if parts and currency else _currency(days, {}, period.tz)
    return PnlReport(daily=only.daily, total=only.total, as_of=as_of, tz=period.tz.key, currency=currency)


def _currency(days: list[dt.datetime], found: dict[dt.datetime, list[Any]], tz: ZoneInfo) -> CurrencyPnl:
    daily = [DailyPnl(_date(day, tz), *(found.get(day) or [0, 0, 0, 0])) for day in days]
    profit, loss, net = (exact_sum(getattr(day, name) for day in daily) for name in _AMOUNTS)
    return CurrencyPnl(daily, TotalPnl(profit, loss, net, sum(day.trades for day in daily)))


def _date(day: dt.datetime, tz: ZoneInfo) -> str:
    return day.astimezone(tz).date().isoformat()


def _filters(parameters: TradeQuery, principal: Principal) -> dict[str, tuple[str, ...]]:
    """The trades that are asked for, and that may be seen: a member sees their own."""
    filters: dict[str, tuple[str, ...]] = {}
    for key in ("broker", "symbol", "strategy", "currency", "user_id"):
        value = getattr(parameters, key)
        if value is not None and value != "all":
            filters[key] = (value,)
    own = own_trades(principal)
    if own is not None:
        filters.setdefault("user_id", own)
        if not set(filters["user_id"]) <= set(own):
            raise Problem(403, "user_id: members see their own trades", parameter="user_id")
    return filters


async def _period(connection: AsyncConn, parameters: TradeQuery, zone: str, now: dt.datetime) -> Period:
    tz = ranges.asked_zone(parameters.tz, zone)
    today = now.astimezone(tz).date()
    if parameters.from_ or parameters.to:
        if parameters.time_range:
            raise Problem(400, "time_range: stands beside from or to; one of them is enough", parameter="time_range")
        last = ranges.day(parameters.to, "to") if parameters.to else today
        first = ranges.day(parameters.from_, "from") if parameters.from_ else last - dt.timedelta(days=6)
        label = f"{first}/{last}"
    else:
        label = parameters.time_range or "7d"
        last = today
        if label == "24h":
            utc = calendar.zone("UTC")
            start = calendar.ceil(now - dt.timedelta(hours=24), "15m", utc)
            return Period(start, calendar.ceil(now, "15m", utc), tz, label)
        if label == "all":
            first = await _first_day(connection, tz) or today
        elif label in ranges.TIME_RANGES:
            first = last - dt.timedelta(days=ranges.TIME_RANGES[label] - 1)
        else:
            raise Problem(400, "time_range: expected 24h, 7d, 30d, 90d, 365d or all", parameter="time_range")
    if first > last:
        raise Problem(400, "from: lies after to", parameter="from")
    if label != "all" and (last - first).days >= MAX_DAYS:
        raise Problem(400, f"from: at most {MAX_DAYS} days are shown at once", parameter="from")
    return Period(calendar.midnight(first, tz), calendar.midnight(last + dt.timedelta(days=1), tz), tz, label)


async def _first_day(connection: AsyncConn, tz: ZoneInfo) -> dt.date | None:
    row = await (await connection.execute('select min(bucket) from app."rollup_trade_pnl_15m"')).fetchone()
    return row[0].astimezone(tz).date() if row is not None and row[0] is not None else None


async def _ask(
    connection: AsyncConn,
    period: Period,
    filters: dict[str, tuple[str, ...]],
    measures: tuple[str, ...],
    group_by: tuple[str, ...],
    *,
    grain: str | None = None,
    limit: int = 10_000,
) -> Rows:
    question = Question(
        TRADE_PNL, measures, period.start, period.end, grain, period.tz, group_by, filters=filters, limit=limit
    )
    return await ask(connection, question)


ROUTES = [
    Route(
        "GET",
        "/api/unify/v1/metrics",
        metrics,
        "Totals of closed trades",
        query=TradeQuery,
        answer=TradeMetrics,
        tags=("trades",),
        errors=(400, 403),
    ),
    Route(
        "GET",
        "/api/unify/v1/reports/pnl",
        pnl,
        "Profit and loss by local day",
        query=TradeQuery,
        answer=PnlReport,
        tags=("trades",),
        errors=(400, 403),
    ),
]
