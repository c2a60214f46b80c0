"""What ModelCompare, OpsSight and the video feed read, to the field: with figures, and before anybody sent one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.integration.api_service import Api, another
from tests.integration.front_end_shapes import (
    SHAPES,
    AnalyticsShape,
    AnswerShape,
    BoardShape,
    DeploymentsShape,
    EnterpriseShape,
    LiveShape,
    StatsShape,
    held,
)

TRADES = ("/metrics", "/reports/pnl", "/analytics/trades?group_by=symbol&recent=5", "/analytics/strategies")


@pytest.fixture
async def filled(api: Api) -> Api:
    """Something of everything."""
    now = api.clock.now
    names = ("model_accuracy", "processing_speed", "total_comparisons", "revenue_generated", "customer_satisfaction")
    teams = {
        "database": {"queries_per_second": 150, "error_rate": 0.1},
        "ml": {"models_deployed": 23, "average_accuracy": 89.2},
        "backend": {"api_requests": 5000, "uptime": 99.9},
    }
    await api.send(
        [
            api.system("web", now, cpu_usage=74.79, memory_usage=79.38, active_connections=14, response_time=245),
            *(api.enterprise(now - timedelta(days=back), **dict.fromkeys(names, 89.25)) for back in (0, 1, 20, 80)),
            *(api.enterprise(now, team, **values) for team, values in teams.items()),
            api.trade(now, "12.5"),
            api.view("view"),
            api.view("like", creator_id="another", video_id="other"),
        ]
    )
    body = {"service": "web", "version": "1", "environment": "production", "status": "succeeded"}
    assert (await api.request("POST", "/api/v1/deployments", json=body)).status == 201
    return api


async def test_an_answer_has_the_documented_fields_and_no_other(filled: Api) -> None:
    found: dict[str, Any] = {}
    for path, shape in SHAPES.items():
        reply = await filled.request("GET", path)
        assert reply.status == 200, (path, reply.text)
        found[path] = held(reply.body, shape)
    assert found["/api/v1/dashboard/stats"].systemMetrics.cpuUsage == Decimal("74.79")
    year = found["/api/v1/dashboard/analytics?timeRange=90d"].performanceData
    assert (len(year.labels), [len(dataset.data) for dataset in year.datasets]) == (90, [90, 90])
    assert found["/api/v1/enterprise/metrics?timeRange=90d"].teamPerformance.mlOperations.modelsDeployed == 23
    assert found["/api/v1/metrics"].response_time_ms == 245
    assert found["/api/v1/deployments"].total == 1
    assert [one.id for one in found["/users/top?limit=10"]] == ["another", "creator"]
    assert len(found["/api/v1/leaderboards/creators?window=24h"].entries) == 2


@pytest.fixture
async def empty(api: Api) -> AsyncIterator[Api]:
    """Somebody of an organization that was made a moment ago, in a zone at :45."""
    async with another(api, f"Empty {api.organization}", time_zone="Asia/Kathmandu") as fresh:
        yield fresh


async def test_before_anybody_sent_anything_every_endpoint_answers_with_nothing(empty: Api) -> None:
    for path, shape in SHAPES.items():
        reply = await empty.request("GET", path)
        assert reply.status == 200, (path, reply.text)
        found = held(reply.body, shape)
        match found:
            case StatsShape() | EnterpriseShape() | LiveShape():
                known = {name for name, value in leaves(msgspec.to_builtins(found)) if value is not None}
                assert known <= {"as_of", "cache_hit_rate"}, path
            case AnalyticsShape():
                for chart in (found.performanceData, found.comparisonTrends):
                    assert len(chart.labels) in (7, 24, 30, 90)
                    assert [dataset.data for dataset in chart.datasets] == [[None] * len(chart.labels)] * len(
                        chart.datasets
                    )
            case DeploymentsShape():
                assert (found.deployments, found.total) == ([], 0)
            case BoardShape():
                assert found.entries == []
            case AnswerShape():
                assert (found.rows, found.cursor) == ([], None)
            case list():
                assert found == []


async def test_before_the_first_trade_there_are_days_and_no_figures(empty: Api) -> None:
    for asked in ("24h", "7d", "365d", "all"):
        for path in TRADES:
            join = "&" if "?" in path else "?"
            reply = await empty.request("GET", f"/api/unify/v1{path}{join}time_range={asked}")
            assert reply.status == 200, (path, reply.text)
            found = reply.json
            total = found.get("total") or found
            assert total.get("trades", total.get("totalTrades")) == 0
            assert total.get("net", total.get("totalPnL")) == 0
            assert not found.get("series")
            assert not found.get("strategies")
            assert not found.get("groups")
            if "daily" in found:
                assert {(day["net"], day["trades"]) for day in found["daily"]} == {(0, 0)}
                assert found["drawdown"] is found["statistics"]["profit_factor"] is None


def leaves(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Every figure with its name."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, key)]
    return [(name, value)]
