"""`GET /api/v1/enterprise/metrics`: ModelCompare's document, means, sums and last values of a range, and whose they may be."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from api.auth.tokens import OwnTokens
from storage import identity
from tests.integration.api_service import SECRET, Api, another, utc_now

PATH = "/api/v1/enterprise/metrics"
OPERATIONAL = (
    "modelAccuracy",
    "processingSpeed",
    "systemUptime",
    "successRate",
    "responseTime",
    "queueLength",
    "concurrentComparisons",
    "dataThroughput",
)
BUSINESS = (
    "totalComparisons",
    "activeUsers",
    "modelsUploaded",
    "revenueGenerated",
    "costSavings",
    "customerSatisfaction",
)
TEAMS = {
    "databaseOperations": ("queriesPerSecond", "averageResponseTime", "errorRate"),
    "mlOperations": ("modelsDeployed", "inferenceRequests", "averageAccuracy"),
    "backendOperations": ("apiRequests", "averageResponseTime", "uptime"),
}
TEAM_TYPES = {"databaseOperations": "database", "mlOperations": "ml", "backendOperations": "backend"}
LAST = {"totalComparisons", "activeUsers", "modelsUploaded", "revenueGenerated", "costSavings"}
SUMMED = {"modelsDeployed", "inferenceRequests", "apiRequests"}


async def enterprise(api: Api, **parameters: Any) -> dict[str, Any]:
    """An answer, held against the shape of ModelCompare's document."""
    reply = await api.get(PATH, **parameters)
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    assert set(found) == {"operationalMetrics", "businessMetrics", "teamPerformance", "as_of"}
    assert set(found["operationalMetrics"]) == set(OPERATIONAL)
    assert set(found["businessMetrics"]) == set(BUSINESS)
    assert {team: set(figures) for team, figures in found["teamPerformance"].items()} == {
        team: set(figures) for team, figures in TEAMS.items()
    }
    return found


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


async def test_what_nobody_reported_is_null(api: Api) -> None:
    found = await enterprise(api)
    groups = (found["operationalMetrics"], found["businessMetrics"], *found["teamPerformance"].values())
    assert {value for group in groups for value in group.values()} == {None}


async def test_money_keeps_every_digit(api: Api) -> None:
    await api.send([api.enterprise(revenue_generated="999999999999999999.999999999999999999", cost_savings="-0.1")])
    business = (await enterprise(api))["businessMetrics"]
    assert business["revenueGenerated"] == Decimal("999999999999999999.999999999999999999")
    assert business["costSavings"] == Decimal("-0.1")


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
async def test_figures_agree_with_the_raw_reports(api: Api, zone: str) -> None:
    chance = random.Random(zone)
    api.clock.now = now = datetime(2026, 3, 20, 3, 17, 5, tzinfo=UTC)
    shown = {"": (*OPERATIONAL, *BUSINESS), **{TEAM_TYPES[team]: figures for team, figures in TEAMS.items()}}
    reports = []
    for _ in range(500):
        time = now - timedelta(seconds=chance.randrange(chance.choice([90_000, 700_000, 9_000_000])))
        team = chance.choice(list(shown))
        names = {snake(name) for name in chance.sample(shown[team], 2)}
        reports.append((time, team, {name: Decimal(chance.randrange(10**9)).scaleb(-4) for name in names}))
    await api.send(
        [api.enterprise(t, team=g or None, **{name: str(value) for name, value in m.items()}) for t, g, m in reports]
    )
    await api.send([api.enterprise(now, team="frontend", model_accuracy=1, revenue_generated=1)])
    today = now.astimezone(ZoneInfo(zone)).date()
    for asked, days in (("24h", 0), ("7d", 7), ("30d", 30), ("90d", 90)):
        first = today - timedelta(days=days - 1)
        start = datetime(first.year, first.month, first.day, tzinfo=ZoneInfo(zone))
        if asked == "24h":
            start = (now - timedelta(hours=24)).replace(second=0, microsecond=0) + timedelta(minutes=1)
        found = await enterprise(api, timeRange=asked, tz=zone)
        groups = {"": {**found["operationalMetrics"], **found["businessMetrics"]}}
        groups |= {TEAM_TYPES[team]: figures for team, figures in found["teamPerformance"].items()}
        for team, figures in groups.items():
            for name, value in figures.items():
                values = sorted(
                    (t, m[snake(name)]) for t, g, m in reports if g == team and t >= start and snake(name) in m
                )
                assert (value is None) == (not values), (asked, team, name)
                if not values:
                    continue
                if team == "" and name in LAST:
                    assert value == values[-1][1]
                elif name in SUMMED:
                    assert value == sum(one for _, one in values)
                else:
                    with localcontext(prec=80):
                        mean = sum(one for _, one in values) / Decimal(len(values))
                        assert value == round(mean, 18), (asked, team, name)


async def test_an_organization_of_ones_own_may_be_named_and_no_other(api: Api) -> None:
    async with another(api, "Other") as other:
        await other.send([other.enterprise(model_accuracy=77)])
        await api.send([api.enterprise(model_accuracy=33)])
        own = await enterprise(api, organization_id=str(api.organization))
        assert own["operationalMetrics"]["modelAccuracy"] == 33
        for wanted in (str(other.organization), str(uuid4())):
            reply = await api.get(PATH, organization_id=wanted)
            assert (reply.status, reply.json["parameter"]) == (403, "organization_id")
            assert reply.json["detail"] == "organization_id: this is not an organization of yours"
        for wanted in ("", "acme", "1234", "\x00"):
            reply = await api.get(PATH, organization_id=wanted)
            assert (reply.status, reply.json["parameter"]) == (400, "organization_id")

        database = api.services.database
        ada = await identity.create_account(database, f"{uuid4()}@example.com", "$argon2id$")
        for organization in (api.organization, other.organization):
            await identity.create_membership(database, ada, organization, "member")
        root = await identity.create_account(database, f"{uuid4()}@example.com", "$argon2id$", deployment_admin=True)
        stranger = await identity.create_account(database, f"{uuid4()}@example.com", "$argon2id$")
        await identity.create_membership(database, stranger, other.organization, "owner")
        for account, organization, status in (
            (ada, api.organization, 200),
            (ada, other.organization, 200),
            (ada, uuid4(), 403),
            (root, other.organization, 200),
            (stranger, other.organization, 200),
            (stranger, api.organization, 403),
        ):
            headers = {"Authorization": f"Bearer {OwnTokens(SECRET).issue(account, now=utc_now())}"}
            reply = await api.get(PATH, organization_id=str(organization), headers=headers)
            assert reply.status == status, (account, organization)
            if status == 200:
                wanted = 33 if organization == api.organization else 77
                assert reply.json["operationalMetrics"]["modelAccuracy"] == wanted


async def test_a_range_that_there_is_not_is_named(api: Api) -> None:
    reply = await api.get(PATH, timeRange="365d")
    assert (reply.status, reply.json["parameter"]) == (400, "timeRange")
