"""Answers of TradeFlow's reading endpoints against the trades that were sent."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.integration.api_service import Api
from tests.integration.trade_record import ROOM, Sent, days_between, deepest, figures, of_day, ratios, total

BASE = "/api/unify/v1"


async def answer(api: Api, path: str, **parameters: Any) -> Any:
    reply = await api.get(BASE + path, **parameters)
    assert reply.status == 200, reply.text
    return reply.json


def check_report(
    part: dict[str, Any], mine: list[Sent], starting: Decimal, first: date, last: date, tz: ZoneInfo
) -> None:
    """One currency's part of a report against the trades."""
    by_day = of_day(mine, tz)
    days = days_between(first, last)
    nets = [total(one.net for one in by_day[day]) for day in days]
    expected = figures(mine)
    assert [day["date"] for day in part["daily"]] == [day.isoformat() for day in days]
    for day, net, row in zip(days, nets, part["daily"], strict=True):
        one_day = figures(by_day[day])
        assert (row["profit"], row["loss"], row["net"], row["trades"]) == (
            one_day["profit"],
            one_day["loss"],
            net,
            len(by_day[day]),
        )
    assert part["total"] == {
        "profit": expected["profit"],
        "loss": expected["loss"],
        "net": expected["totalPnL"],
        "trades": len(mine),
    }
    levels = [starting]
    for net in nets:
        levels.append(ROOM.add(levels[-1], net))
    assert part["starting_equity"] == starting
    assert [(row["date"], row["equity"]) for row in part["equity"]] == [
        (day.isoformat(), level) for day, level in zip(days, levels[1:], strict=True)
    ]
    check_drawdowns(part, levels, days)
    sharpe, sortino = ratios(levels) if starting else (None, None)
    statistics = part["statistics"]
    near(statistics["sharpe"], sharpe)
    near(statistics["sortino"], sortino)
    assert statistics["profit_factor"] == expected["profitFactor"]
    assert statistics["expectancy"] == expected["averagePnL"]
    assert statistics["average_hold_seconds"] == expected["averageHoldSeconds"]
    assert (statistics["win_rate"], statistics["wins"], statistics["losses"]) == (
        expected["winRate"],
        expected["winningTrades"],
        expected["losingTrades"],
    )
    assert (statistics["best"], statistics["worst"], statistics["fees"]) == (
        expected["bestTrade"],
        expected["worstTrade"],
        expected["fees"],
    )
    assert (statistics["days"], statistics["winning_days"], statistics["losing_days"]) == (
        len(days),
        sum(net > 0 for net in nets),
        sum(net < 0 for net in nets),
    )
    signs = "".join(
        "+" if net > 0 else "-" if net < 0 else "0" for day, net in zip(days, nets, strict=True) if by_day[day]
    )
    for name, sign in (("winning", "+"), ("losing", "-")):
        runs = "".join(one if one == sign else " " for one in signs).split()
        assert statistics[f"longest_{name}_streak_days"] == max(map(len, runs), default=0)


def check_drawdowns(part: dict[str, Any], levels: list[Decimal], days: list[date]) -> None:
    """Drawdowns, camel or not, against the levels of equity, of which the first is the starting equity."""
    shallow, relative_fall = part["drawdown"], part.get("relative_drawdown")
    if "relativeDrawdown" in part:
        shallow, relative_fall = snake(shallow), snake(part["relativeDrawdown"])
    amount = deepest(levels, ROOM.subtract)
    assert (shallow or {"amount": None})["amount"] == amount
    relative = deepest(levels, lambda high, low: ROOM.divide(high - low, high)) if levels[0] > 0 else None
    found = relative_fall
    assert (found is None) == (relative is None)
    if found is not None:
        assert abs(found["percent"] - 100 * relative) <= Decimal("0.0000005")
    level = {None: levels[0]} | {day.isoformat(): level for day, level in zip(days, levels[1:], strict=True)}
    for fall in (shallow, found):
        if fall is None:
            continue
        assert (fall["peak_equity"], fall["trough_equity"]) == (level[fall["peak_date"]], level[fall["trough_date"]])
        assert fall["amount"] == fall["peak_equity"] - fall["trough_equity"]
        later = [
            day for day in level if day is not None and day > fall["trough_date"] and level[day] >= fall["peak_equity"]
        ]
        assert fall["recovery_date"] == min(later, default=None)
        assert (fall["peak_date"] or "") < fall["trough_date"]


def snake(fall: dict[str, Any] | None) -> dict[str, Any] | None:
    """A drawdown of TradeFlow's names in ours."""
    return fall and {
        re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name): value for name, value in fall.items()
    }


def near(found: Decimal | None, expected: float | None) -> None:
    assert (found is None) == (expected is None)
    if found is not None:
        assert float(found) == pytest.approx(expected, rel=1e-6, abs=1e-6)
