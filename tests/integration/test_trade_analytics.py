"""TradeFlow's four reading endpoints over random trades: every figure is what plain Python computes from the events."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.integration.api_service import Api
from tests.integration.trade_checks import answer, check_drawdowns, check_report, near
from tests.integration.trade_record import (
    ROOM,
    Sent,
    days_between,
    divided,
    figures,
    of_day,
    random_trades,
    ratios,
    total,
    within,
)

ZONES = [
    ("Europe/Berlin", datetime(2025, 3, 18, tzinfo=UTC), date(2025, 3, 20), date(2025, 4, 8), [23]),
    ("America/New_York", datetime(2025, 10, 22, tzinfo=UTC), date(2025, 10, 24), date(2025, 11, 12), [25]),
    ("Asia/Kathmandu", datetime(2025, 6, 1, tzinfo=UTC), date(2025, 6, 3), date(2025, 6, 20), []),
]
"""A zone, when trades begin, the days that are asked for, and the hours of its days that have not 24."""


@pytest.fixture(params=ZONES, ids=lambda zone: zone[0])
async def record(api: Api, request: pytest.FixtureRequest) -> tuple[Api, list[Sent], ZoneInfo, date, date]:
    """A service with random trades around a range of a zone, and what was sent."""
    zone, begin, first, last, odd = request.param
    tz = ZoneInfo(zone)
    midnights = [datetime.combine(day, datetime.min.time(), tz).astimezone(UTC) for day in days_between(first, last)]
    assert [hours for a, b in pairwise(midnights) if (hours := (b - a) // timedelta(hours=1)) != 24] == odd
    trades = random_trades(len(zone), begin, 24, 500)
    # The hour that is there twice, the one before that which is not, and the day's first and last moment.
    edges = [moment + timedelta(hours=h) for moment in midnights for h in (0, 1, 2, 3)]
    edges += [moment - timedelta(microseconds=1) for moment in midnights]
    rng = random.Random(7)
    trades += [
        Sent(
            moment,
            timedelta(0),
            "ann",
            "mtx",
            "XAU",
            None,
            rng.choice(["USD", "BTC"]),
            Decimal(rng.randrange(-9, 9)),
            Decimal(0),
        )
        for moment in edges
    ]
    await api.send([one.event(api) for one in trades])
    return api, trades, tz, first, last


Record = tuple[Api, list[Sent], ZoneInfo, date, date]


async def test_totals_and_active_users(record: Record) -> None:
    api, trades, tz, first, last = record
    for wanted in ({}, {"currency": "BTC"}, {"user_id": "bob", "currency": "USD"}, {"symbol": "XAU"}, {"strategy": ""}):
        held = within(trades, first, last, tz, **wanted)
        found = await answer(api, "/metrics", from_=first, to=last, tz=tz.key, **wanted)
        assert (found["totalTrades"], found["activeUsers"]) == (len(held), len({one.user_id for one in held}))
        assert found["winRate"] == figures(held)["winRate"]
        currencies = {one.currency for one in held}
        if len(currencies) == 1:
            assert found["totalPnL"] == total(one.net for one in held)
            continue
        assert found["totalPnL"] is None
        for currency in currencies:
            part = figures([one for one in held if one.currency == currency])
            assert found["by_currency"][currency] == {
                name: part[name] for name in ("totalTrades", "totalPnL", "winRate")
            }


async def test_the_report_its_equity_its_drawdowns_and_its_ratios(record: Record) -> None:
    api, trades, tz, first, last = record
    held = within(trades, first, last, tz)
    parts = {"USD": Decimal(2_000), "BTC": Decimal("1500.5")}
    found = await answer(api, "/reports/pnl", from_=first, to=last, tz=tz.key, starting_equity="USD:2000,BTC:1500.50")
    assert (found["total"], found["equity"], found["drawdown"], found["statistics"]) == (None, None, None, None)
    assert found["starting_equity"] is found["relative_drawdown"] is None
    for currency, starting in parts.items():
        mine = [one for one in held if one.currency == currency]
        check_report(found["by_currency"][currency], mine, starting, first, last, tz)
        alone = await answer(
            api, "/reports/pnl", from_=first, to=last, tz=tz.key, currency=currency, starting_equity=str(starting)
        )
        assert (alone.pop("currency"), alone.pop("tz"), bool(alone.pop("as_of"))) == (currency, tz.key, True)
        assert alone == found["by_currency"][currency]
    nothing_stated = await answer(api, "/reports/pnl", from_=first, to=last, tz=tz.key)
    for currency in parts:
        mine = [one for one in held if one.currency == currency]
        check_report(nothing_stated["by_currency"][currency], mine, Decimal(0), first, last, tz)
    # One number for two currencies is a starting equity of neither.
    one_for_two = await answer(api, "/reports/pnl", from_=first, to=last, tz=tz.key, starting_equity=5)
    assert one_for_two["by_currency"] == nothing_stated["by_currency"]


async def test_figures_over_time_and_by_group(record: Record) -> None:
    api, trades, tz, first, last = record
    asked = {"from_": first, "to": last, "tz": tz.key}
    held = within(trades, first, last, tz)
    for grain, floor in (
        ("1d", lambda day: day),
        ("1w", lambda day: day - timedelta(days=day.weekday())),
        ("1mo", lambda day: day.replace(day=1)),
    ):
        found = await answer(api, "/analytics/trades", grain=grain, **asked)
        cells: dict[tuple[str, str], list[Sent]] = {}
        for day, those in of_day(held, tz).items():
            for one in those:
                cells.setdefault((floor(day).isoformat(), one.currency), []).append(one)
        assert found["series"] == [
            {"date": day, "currency": currency, **figures(those)} for (day, currency), those in sorted(cells.items())
        ]
    both = {currency: figures([one for one in held if one.currency == currency]) for currency in ("BTC", "USD")}
    assert (found["by_currency"], found["currency"], found["groups"]) == (both, None, None)
    whole = figures(held)
    counts = ("totalTrades", "winningTrades", "losingTrades", "winRate", "averageHoldSeconds")
    assert found["total"] == {name: whole[name] if name in counts else None for name in whole}
    for keys in (("symbol",), ("broker", "userId"), ("strategy",), ("currency",), ("symbol", "strategy", "userId")):
        await check_groups(api, held, keys, asked)
    mine = within(held, first, last, tz, currency="USD", broker="mtx", user_id="ann")
    one = await answer(
        api, "/analytics/trades", currency="USD", broker="mtx", user_id="ann", group_by="symbol", **asked
    )
    assert (one["total"], one["currency"], one["by_currency"]) == (figures(mine), "USD", None)
    assert sum(group["totalTrades"] for group in one["groups"]) == len(mine)


async def check_groups(api: Api, held: list[Sent], keys: tuple[str, ...], asked: dict[str, Any]) -> None:
    """The groups of some keys, in two orders, whole and a page at a time."""
    attribute = {"userId": "user_id"}
    groups: dict[tuple[Any, ...], list[Sent]] = {}
    for one in held:
        groups.setdefault((one.currency, *(getattr(one, attribute.get(key, key)) for key in keys)), []).append(one)
    expected = [
        {"currency": place[0], **dict(zip(keys, place[1:], strict=True)), **figures(those)}
        for place, those in groups.items()
    ]
    by_key = lambda row: [row[key] or "" for key in keys]  # noqa: E731
    asked = {**asked, "group_by": ",".join(attribute.get(key, key) for key in keys)}
    figure = {
        "totalPnL": lambda row: row["totalPnL"],
        "winRate": lambda row: Decimal(row["winningTrades"]) / row["totalTrades"],
        "averageHoldSeconds": lambda row: row["averageHoldSeconds"],
    }
    for sort, order, sign in (("totalPnL", "desc", -1), ("winRate", "asc", 1), ("averageHoldSeconds", "desc", -1)):
        placed = [((row["currency"], sign * figure[sort](row), by_key(row)), row) for row in expected]
        ordered = [row for _, row in sorted(placed, key=lambda pair: pair[0])]
        found = await answer(api, "/analytics/trades", sort=sort, order=order, limit=200, **asked)
        assert found["groups"] == ordered
        assert found["groupCount"] == len(ordered)
        paged: list[Any] = []
        for page in range(1, len(ordered) // 4 + 3):
            part = await answer(api, "/analytics/trades", sort=sort, order=order, limit=4, page=page, **asked)
            assert part["groupCount"] == len(ordered)
            paged += part["groups"]
        assert paged == ordered


async def test_strategies(record: Record) -> None:
    api, trades, tz, first, last = record
    held = within(trades, first, last, tz)
    asked = {"from_": first, "to": last, "tz": tz.key}
    found = await answer(api, "/analytics/strategies", starting_equity="USD:2000,BTC:900", **asked)
    assert found["strategyCount"] == len(found["strategies"]) == 6
    days = days_between(first, last)
    for row in found["strategies"]:
        currency = row["currency"]
        of_currency = [one for one in held if one.currency == currency]
        mine = [one for one in of_currency if one.strategy == row["strategy"]]
        expected = figures(mine)
        assert {name: row[name] for name in expected} == expected
        assert row["shareOfTrades"] == divided(Decimal(100 * len(mine)), len(of_currency), 6)
        share = ROOM.divide(100 * expected["totalPnL"], total(one.net for one in of_currency))
        assert abs(row["shareOfPnL"] - share) <= Decimal("0.0000005")
        levels = [{"USD": Decimal(2_000), "BTC": Decimal(900)}[currency]]
        assert row["startingEquity"] == levels[0]
        by_day = of_day(mine, tz)
        for day in days:
            levels.append(ROOM.add(levels[-1], total(one.net for one in by_day[day])))
        check_drawdowns(row, levels, days)
        sharpe, sortino = ratios(levels)
        near(row["sharpe"], sharpe)
        near(row["sortino"], sortino)
    order = [(row["currency"], -row["totalPnL"], row["strategy"] or "") for row in found["strategies"]]
    assert order == sorted(order)
    paged = [
        row
        for page in (1, 2, 3)
        for row in (
            await answer(api, "/analytics/strategies", starting_equity="USD:2000,BTC:900", limit=2, page=page, **asked)
        )["strategies"]
    ]
    assert paged == found["strategies"]
    plain = await answer(api, "/analytics/strategies", **asked)
    assert {(row["sharpe"], row["sortino"], row["relativeDrawdown"]) for row in plain["strategies"]} == {(None,) * 3}
