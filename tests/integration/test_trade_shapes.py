"""The shapes that TradeFlow reads, to the field; who sees whose trades; and refusals that name what is wrong."""

# ruff: noqa: N815  (the names are TradeFlow's)

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from api.auth.tokens import OwnTokens
from storage import identity
from tests.integration.api_service import NOON, SECRET, Api, utc_now

BASE = "/api/unify/v1"
ALL_FOUR = ("/metrics", "/reports/pnl", "/analytics/trades", "/analytics/strategies")
Amount = int | Decimal


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A shape that has these fields and no other."""


class MetricsShape(Strict):
    """TradeFlow's document: totalTrades, activeUsers, totalPnL, winRate, timeRange; the rest is ours."""

    totalTrades: int
    activeUsers: int
    totalPnL: Amount
    winRate: Amount
    timeRange: str
    by_currency: None
    as_of: str


class DayShape(Strict):
    date: str
    profit: Amount
    loss: Amount
    net: Amount
    trades: int


class TotalShape(Strict):
    profit: Amount
    loss: Amount
    net: Amount
    trades: int


class EquityShape(Strict):
    date: str
    equity: Amount


class FallShape(Strict):
    amount: Amount
    percent: Amount
    peak_date: str | None
    trough_date: str
    recovery_date: str | None
    peak_equity: Amount
    trough_equity: Amount


class CamelFallShape(Strict):
    amount: Amount
    percent: Amount
    peakDate: str | None
    troughDate: str
    recoveryDate: str | None
    peakEquity: Amount
    troughEquity: Amount


class StatisticsShape(Strict):
    profit_factor: Amount
    expectancy: Amount
    sharpe: Amount
    sortino: Amount
    average_hold_seconds: Amount
    win_rate: Amount
    wins: int
    losses: int
    best: Amount
    worst: Amount
    fees: Amount
    days: int
    winning_days: int
    losing_days: int
    longest_winning_streak_days: int
    longest_losing_streak_days: int


class PnlShape(Strict):
    """TradeFlow's document: daily with date, profit, loss, net; total with the same; the rest is ours."""

    daily: list[DayShape]
    total: TotalShape
    starting_equity: Amount
    equity: list[EquityShape]
    drawdown: FallShape
    relative_drawdown: FallShape
    statistics: StatisticsShape
    as_of: str
    tz: str
    currency: str


class FiguresShape(Strict):
    totalTrades: int
    winningTrades: int
    losingTrades: int
    winRate: Amount
    profit: Amount
    loss: Amount
    totalPnL: Amount
    fees: Amount
    averagePnL: Amount
    bestTrade: Amount
    worstTrade: Amount
    profitFactor: Amount | None
    averageHoldSeconds: Amount


class PointShape(FiguresShape):
    date: str
    currency: str


class GroupShape(FiguresShape):
    currency: str
    symbol: str
    strategy: str | None


class TradeShape(Strict):
    id: str
    userId: str
    broker: str
    symbol: str
    strategy: str | None
    side: str
    quantity: Amount
    entryPrice: Amount
    exitPrice: Amount
    pnl: Amount
    fees: Amount
    net: Amount
    currency: str
    openedAt: str
    closedAt: str


class ListShape(Strict):
    items: list[TradeShape]
    cursor: str | None
    archived: bool


class TradesShape(Strict):
    timeRange: str
    from_: str = msgspec.field(name="from")
    to: str
    tz: str
    grain: str
    currency: str
    total: FiguresShape
    by_currency: None
    series: list[PointShape]
    groups: list[GroupShape]
    groupCount: int
    page: int
    limit: int
    trades: ListShape
    as_of: str


class StrategyShape(FiguresShape):
    strategy: str | None
    currency: str
    shareOfTrades: Amount
    shareOfPnL: Amount
    startingEquity: Amount
    drawdown: CamelFallShape | None
    relativeDrawdown: CamelFallShape | None
    sharpe: Amount | None
    sortino: Amount | None


class StrategiesShape(Strict):
    timeRange: str
    from_: str = msgspec.field(name="from")
    to: str
    tz: str
    currency: str
    total: FiguresShape
    by_currency: None
    strategies: list[StrategyShape]
    strategyCount: int
    page: int
    limit: int
    as_of: str


@pytest.mark.parametrize(
    ("path", "shape", "asked"),
    [
        ("/metrics", MetricsShape, {}),
        ("/reports/pnl", PnlShape, {"starting_equity": "100.5"}),
        ("/analytics/trades", TradesShape, {"group_by": "symbol,strategy", "recent": 2}),
        ("/analytics/strategies", StrategiesShape, {"starting_equity": "USD:100"}),
    ],
)
async def test_an_answer_has_the_documented_fields_and_no_other(
    api: Api, path: str, shape: Any, asked: dict[str, Any]
) -> None:
    await api.send(
        [
            api.trade(NOON, "10", fees="0.1", strategy="swing"),
            api.trade(NOON - timedelta(days=1), "-20.000000000000000001"),
            api.trade(NOON - timedelta(days=2), "5"),
        ]
    )
    reply = await api.get(BASE + path, **asked)
    assert reply.status == 200, reply.text
    found = msgspec.convert(reply.json, shape)
    if path == "/metrics":
        assert (found.timeRange, found.winRate) == ("7d", Decimal("66.67"))


REFUSED = [
    (ALL_FOUR, {"time_range": "8d"}, "time_range"),
    (ALL_FOUR, {"time_range": "7d", "from_": "2026-01-01"}, "time_range"),
    (ALL_FOUR, {"from_": "2026-03-02", "to": "2026-03-01"}, "from"),
    (ALL_FOUR, {"from_": "2001-01-01", "to": "2026-03-01"}, "from"),
    (ALL_FOUR, {"from_": "2026-02-30"}, "from"),
    (ALL_FOUR, {"to": "yesterday"}, "to"),
    (ALL_FOUR, {"tz": "Mars/Olympus"}, "tz"),
    (ALL_FOUR, {"side": "buy"}, "side"),
    (ALL_FOUR, {"broker": ["a", "b"]}, "broker"),
    (ALL_FOUR, {"symbol": "a\0"}, "symbol"),
    *(
        (("/reports/pnl", "/analytics/strategies"), {"starting_equity": text}, "starting_equity")
        for text in ("-1", "1e3", "nan", "Infinity", "usd:1", "USD:1,USD:2", "5,USD:1", "1,2", "USD:", "٣", "1" * 19)
    ),
    (("/metrics",), {"starting_equity": "1"}, "starting_equity"),
    (("/analytics/trades",), {"grain": "1h"}, "grain"),
    (("/analytics/trades",), {"group_by": "side"}, "group_by"),
    (("/analytics/trades",), {"group_by": "symbol,symbol"}, "group_by"),
    (("/analytics/trades", "/analytics/strategies"), {"sort": "net"}, "sort"),
    (("/analytics/trades", "/analytics/strategies"), {"order": "up"}, "order"),
    (("/analytics/trades", "/analytics/strategies"), {"limit": 0}, "limit"),
    (("/analytics/trades", "/analytics/strategies"), {"limit": 201}, "limit"),
    (("/analytics/trades", "/analytics/strategies"), {"page": 0}, "page"),
    (("/analytics/trades",), {"recent": 201}, "recent"),
    (("/analytics/trades",), {"cursor": "WyIyMDI2LTAzLTEwVDEyOjAwOjAwKzAwOjAwIiwiYSIsImIiXQ=="}, "cursor"),
    *(
        (("/analytics/trades",), {"recent": 1, "cursor": text}, "cursor")
        for text in ("x", "W10=", "WyIyMDI2IiwiYSIsImIiXQ==", "WyIyMDI2LTAzLTEwVDEyOjAwOjAwIiwiYSIsImIiXQ==")
    ),
]


async def test_refusals_name_the_parameter(api: Api) -> None:
    for paths, asked, parameter in REFUSED:
        for path in paths:
            reply = await api.get(BASE + path, **asked)
            assert (reply.status, reply.json["parameter"]) == (400, parameter), (path, asked, reply.text)
            assert reply.json["detail"].startswith(parameter)


async def test_what_would_be_too_much_is_refused(api: Api) -> None:
    # 40 currencies over 3,000 days are more than 100,000 rows of a report.
    await api.send([api.trade(NOON - timedelta(days=n), "1", currency=f"C{n}") for n in range(40)])
    asked = {"from_": "2018-01-01", "to": "2026-03-10"}
    reply = await api.get(BASE + "/reports/pnl", **asked)
    assert (reply.status, reply.json["parameter"]) == (400, "currency")
    assert (await api.get(BASE + "/reports/pnl", currency="C1", **asked)).status == 200
    assert len((await api.get(BASE + "/analytics/trades", **asked)).json["series"]) == 40
    assert len((await api.get(BASE + "/analytics/strategies", **asked)).json["strategies"]) == 40


async def test_a_member_sees_their_own_by_every_endpoint_and_an_owner_everyones(api: Api) -> None:
    accounts: dict[str, tuple[str, dict[str, str]]] = {}
    for role in ("owner", "member"):
        account = await identity.create_account(api.services.database, f"{role}-{api.organization}@example.com", "hash")
        await identity.create_membership(api.services.database, account, api.organization, role)  # type: ignore[arg-type]
        token = OwnTokens(SECRET).issue(account, now=utc_now())
        accounts[role] = (str(account), {"Authorization": f"Bearer {token}"})
    mine, member = accounts["member"]
    owner = accounts["owner"][1]
    api.clock.now = utc_now()
    closed = api.clock.now - timedelta(hours=1)
    await api.send(
        [
            api.trade(closed, "1", user_id=mine, strategy="own"),
            api.trade(closed, "10", user_id="somebody", symbol="secret", strategy="secret"),
            api.trade(closed - timedelta(days=40), "100", user_id="somebody", symbol="secret", strategy="secret"),
        ]
    )
    asked: dict[str, dict[str, Any]] = {path: {"time_range": "all"} for path in ALL_FOUR}
    asked["/analytics/trades"] |= {"group_by": "user_id,symbol", "recent": 10}
    for path in ALL_FOUR:
        own = await api.get(BASE + path, headers=member, **asked[path])
        assert own.status == 200, own.text
        assert "secret" not in own.text
        assert "somebody" not in own.text
        named = await api.get(BASE + path, headers=owner, user_id=mine, **asked[path])
        assert (await api.get(BASE + path, headers=member, user_id=mine, **asked[path])).json == own.json
        # An owner who asks for the member's sees the same; not even the range tells of others' trades.
        assert named.json == own.json
        refused = await api.get(BASE + path, headers=member, user_id="somebody", **asked[path])
        assert (refused.status, refused.json["parameter"]) == (403, "user_id")
        everyones = (await api.get(BASE + path, headers=owner, **asked[path])).json
        assert everyones == (await api.get(BASE + path, **asked[path])).json
        total = everyones.get("total") or everyones
        assert total.get("net", total.get("totalPnL")) == 111
    assert (await api.get(BASE + "/metrics", headers=owner, time_range="all")).json["activeUsers"] == 2
    assert (await api.get(BASE + "/metrics", headers=member, time_range="all")).json["activeUsers"] == 1
    assert (await api.get(BASE + "/metrics", headers=member, symbol="nothing")).json["activeUsers"] == 0
    # A cursor of somebody else's list shows nobody's trades but one's own.
    first = (await api.get(BASE + "/analytics/trades", recent=1, time_range="all")).json["trades"]
    cursor = {"recent": 10, "cursor": first["cursor"], "time_range": "all"}
    reply = await api.get(BASE + "/analytics/trades", headers=member, **cursor)
    assert {trade["userId"] for trade in reply.json["trades"]["items"]} <= {mine}
