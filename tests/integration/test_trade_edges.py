"""TradeFlow's reading endpoints where there is little to read: days to come, nothing traded, no loss."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.integration.api_service import NOON, Api
from tests.integration.trade_checks import answer, near, snake
from tests.integration.trade_record import figures, ratios


async def test_days_to_come_and_half_days_are_in_no_statistics(api: Api) -> None:
    await api.send([api.trade(NOON - timedelta(days=1), "-100"), api.trade(NOON, "50")])
    asked = {"from_": "2026-03-09", "to": "2026-03-31", "starting_equity": 1_000}
    found = await answer(api, "/reports/pnl", **asked)
    assert len(found["daily"]) == 23
    assert [(row["date"], row["equity"]) for row in found["equity"]] == [("2026-03-09", 900), ("2026-03-10", 950)]
    assert found["statistics"]["days"] == 2
    assert found["drawdown"] == {
        "amount": 100,
        "percent": 10,
        "peak_date": None,
        "trough_date": "2026-03-09",
        "recovery_date": None,
        "peak_equity": 1000,
        "trough_equity": 900,
    }
    near(found["statistics"]["sharpe"], ratios([Decimal(1_000), Decimal(900), Decimal(950)])[0])
    (row,) = (await answer(api, "/analytics/strategies", **asked))["strategies"]
    assert (row["sharpe"], snake(row["drawdown"])) == (found["statistics"]["sharpe"], found["drawdown"])
    # The last 24 hours begin and end within a day.
    found = await answer(api, "/reports/pnl", time_range="24h", starting_equity=1_000)
    assert (found["statistics"]["sharpe"], found["statistics"]["sortino"]) == (None, None)
    # A trade a few minutes ahead, on a day that has not begun, counts all the same.
    api.clock.now = datetime(2026, 3, 10, 23, 55, tzinfo=UTC)
    await api.send([api.trade(datetime(2026, 3, 11, 0, 1, tzinfo=UTC), "7")])
    found = await answer(api, "/reports/pnl", **asked)
    assert (found["equity"][-1], found["statistics"]["days"]) == ({"date": "2026-03-11", "equity": 957}, 3)
    (row,) = (await answer(api, "/analytics/strategies", **asked))["strategies"]
    assert row["sharpe"] == found["statistics"]["sharpe"]


async def test_nothing_traded_is_zeros_and_nulls(api: Api) -> None:
    found = await answer(api, "/reports/pnl", currency="EUR", starting_equity=5)
    assert ({row["equity"] for row in found["equity"]}, found["starting_equity"]) == ({5}, 5)
    assert (found["drawdown"], found["relative_drawdown"]) == (None, None)
    statistics = found["statistics"]
    assert (statistics["fees"], statistics["wins"], statistics["days"]) == (0, 0, 7)
    for name in (
        "profit_factor",
        "expectancy",
        "sharpe",
        "sortino",
        "average_hold_seconds",
        "win_rate",
        "best",
        "worst",
    ):
        assert statistics[name] is None, name
    found = await answer(api, "/analytics/trades", group_by="symbol", recent=5, currency="EUR")
    assert (found["series"], found["groups"], found["groupCount"], found["currency"]) == ([], [], 0, "EUR")
    assert found["trades"] == {"items": [], "cursor": None, "archived": False}
    assert found["total"] == figures([])
    assert (await answer(api, "/analytics/trades", group_by="symbol", page=9))["groupCount"] == 0
    assert (await answer(api, "/analytics/strategies"))["strategies"] == []


async def test_a_profit_without_a_loss_has_no_factor_and_no_sortino(api: Api) -> None:
    await api.send([api.trade(NOON - timedelta(days=n), "10") for n in range(3)])
    found = await answer(api, "/reports/pnl", starting_equity="100")
    statistics = found["statistics"]
    assert (statistics["profit_factor"], statistics["sortino"], found["drawdown"]) == (None, None, None)
    assert statistics["sharpe"] > 0
    assert (statistics["longest_winning_streak_days"], statistics["longest_losing_streak_days"]) == (3, 0)
