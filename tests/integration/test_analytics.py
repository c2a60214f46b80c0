"""`GET /api/v1/dashboard/analytics`: Chart.js data by real hours and days, held against the raw reports, clock changes included."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from api.analytics import bucket_label, increases
from tests.integration.api_service import Api

DAYS = {"7d": 7, "30d": 30, "90d": 90}


async def analytics(api: Api, **parameters: Any) -> dict[str, Any]:
    """An answer, held against the shape of ModelCompare's document."""
    reply = await api.get("/api/v1/dashboard/analytics", **parameters)
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    assert set(found) == {"performanceData", "comparisonTrends", "tz", "as_of"}
    series = {"performanceData": ["Accuracy (%)", "Speed (FPS)"], "comparisonTrends": ["Comparisons"]}
    for chart, names in series.items():
        assert set(found[chart]) == {"labels", "datasets"}
        assert [dataset["label"] for dataset in found[chart]["datasets"]] == names
        for dataset in found[chart]["datasets"]:
            assert set(dataset) == {"label", "data"}
            assert len(dataset["data"]) == len(found[chart]["labels"])
    assert found["performanceData"]["labels"] == found["comparisonTrends"]["labels"]
    return found


def data(found: dict[str, Any]) -> tuple[list[Any], list[Any], list[Any]]:
    accuracy, speed = found["performanceData"]["datasets"]
    return accuracy["data"], speed["data"], found["comparisonTrends"]["datasets"][0]["data"]


async def test_labels_stand_where_nobody_reported_anything(api: Api) -> None:
    for asked, count in (("24h", 24), ("7d", 7), ("30d", 30), ("90d", 90)):
        found = await analytics(api, timeRange=asked)
        assert len(found["performanceData"]["labels"]) == count
        assert {value for series in data(found) for value in series} == {None}
    found = await analytics(api)
    assert found["performanceData"]["labels"] == [f"2026-03-{day:02}" for day in range(4, 11)]
    hours = (await analytics(api, timeRange="24h", tz="Asia/Kolkata"))["performanceData"]["labels"]
    assert (hours[0], hours[-1]) == ("2026-03-09T18:00", "2026-03-10T17:00")
    api.clock.now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    assert (await analytics(api, timeRange="24h"))["performanceData"]["labels"][-1] == "2026-03-10T12:00"


async def test_a_range_or_zone_that_there_is_not_is_named(api: Api) -> None:
    for parameters, wrong in (
        ({"timeRange": "1h"}, "timeRange"),
        ({"timeRange": ""}, "timeRange"),
        ({"timeRange": "7d", "tz": "Mars/Olympus"}, "tz"),
        ({"time_range": "7d"}, "time_range"),
    ):
        reply = await api.get("/api/v1/dashboard/analytics", **parameters)
        assert (reply.status, reply.json["parameter"]) == (400, wrong)


async def test_hours_that_are_struck_twice_or_never_have_labels_of_their_own(api: Api) -> None:
    api.clock.now = datetime(2026, 10, 25, 12, 30, tzinfo=UTC)
    times = [datetime(2026, 10, 25, hour, 10, tzinfo=UTC) for hour in (0, 1)]
    await api.send([api.enterprise(time, model_accuracy=80 + number) for number, time in enumerate(times)])
    found = await analytics(api, timeRange="24h", tz="Europe/Berlin")
    labels = found["performanceData"]["labels"]
    assert len(labels) == len(set(labels)) == 24
    twice = ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    place = labels.index(twice[0])
    assert labels[place - 1 : place + 3] == ["2026-10-25T01:00", *twice, "2026-10-25T03:00"]
    assert data(found)[0][place : place + 2] == [80, 81]

    api.clock.now = datetime(2026, 3, 29, 12, 30, tzinfo=UTC)
    labels = (await analytics(api, timeRange="24h", tz="Europe/Berlin"))["performanceData"]["labels"]
    assert "2026-03-29T02:00" not in labels
    assert labels[labels.index("2026-03-29T01:00") + 1] == "2026-03-29T03:00"
    assert len(labels) == 24


async def test_days_of_23_and_25_hours_hold_what_was_reported_in_them(api: Api) -> None:
    zone = ZoneInfo("Europe/Berlin")
    for changed, hours in ((date(2026, 3, 29), 23), (date(2026, 10, 25), 25)):
        start = datetime(changed.year, changed.month, changed.day, tzinfo=zone).astimezone(UTC)
        api.clock.now = start + timedelta(hours=hours, minutes=5)
        reports = [(start + timedelta(minutes=30 * half), 1) for half in range(2 * hours)]
        reports += [(start - timedelta(seconds=1), 9), (start + timedelta(hours=hours), 9)]
        await api.send([api.enterprise(time, processing_speed=value) for time, value in reports])
        found = await analytics(api, timeRange="7d", tz=zone.key)
        assert found["performanceData"]["labels"][-2:] == [str(changed), str(changed + timedelta(days=1))]
        assert data(found)[1][-3:] == [9, 1, 9]


async def test_comparisons_are_what_the_reported_total_rose_by(api: Api) -> None:
    now = api.clock.now
    assert data(await analytics(api))[2] == [None] * 7
    levels = {10: 100, 6: 120, 5: 150, 3: 10, 2: 12, 0: 40}
    await api.send(
        [api.enterprise(now - timedelta(days=ago), total_comparisons=level) for ago, level in levels.items()]
    )
    await api.send([api.enterprise(now - timedelta(hours=1), total_comparisons=39)])
    await api.send([api.enterprise(now, team="ml", total_comparisons=1_000_000)])
    # 120 - 100, 150 - 120, nothing, a counter that began again, 12 - 10, nothing, 40 - 12
    assert data(await analytics(api))[2] == [20, 30, None, 10, 2, None, 28]


async def test_the_first_report_ever_has_risen_by_nobody_knows(api: Api) -> None:
    await api.send([api.enterprise(api.clock.now - timedelta(days=2), total_comparisons=100)])
    await api.send([api.enterprise(api.clock.now, total_comparisons="100.000000000000000001")])
    assert data(await analytics(api))[2] == [None, None, None, None, None, None, Decimal("1e-18")]


def test_every_digit_of_an_increase_is_kept() -> None:
    large = Decimal("999999999999999999.999999999999999999")
    assert increases(Decimal("1e-18"), [large, None, large, 5]) == [
        Decimal("999999999999999999.999999999999999998"),
        None,
        0,
        5,
    ]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Sydney"])
async def test_series_agree_with_the_raw_reports(api: Api, zone: str) -> None:
    chance = random.Random(zone)
    tz = ZoneInfo(zone)
    reports: list[tuple[datetime, dict[str, Decimal]]] = []
    for now in (datetime(2026, 3, 30, 3, 17, tzinfo=UTC), datetime(2026, 11, 2, 14, 45, tzinfo=UTC)):
        api.clock.now = now
        fresh = []
        for _ in range(300):
            time = now - timedelta(seconds=chance.randrange(chance.choice([100_000, 8_000_000])))
            names = chance.sample(["model_accuracy", "processing_speed", "total_comparisons"], 2)
            fresh.append((time, {name: Decimal(chance.randrange(10**6)) / 100 for name in names}))
        await api.send([api.enterprise(time, **{k: str(v) for k, v in m.items()}) for time, m in fresh])
        reports += fresh
        for asked in ("24h", *DAYS):
            grain = "1h" if asked == "24h" else "1d"
            found = await analytics(api, timeRange=asked, tz=zone)
            labels = found["performanceData"]["labels"]
            assert labels == expected_labels(asked, now, tz)
            for metric, series in zip(("model_accuracy", "processing_speed"), data(found)[:2], strict=True):
                by_label: dict[str, list[Decimal]] = {}
                for time, metrics in reports:
                    if metric in metrics:
                        by_label.setdefault(label_of(time, grain, tz), []).append(metrics[metric])
                for label, value in zip(labels, series, strict=True):
                    if label not in by_label:
                        assert value is None
                    else:
                        mean = sum(by_label[label]) / len(by_label[label])
                        assert abs(Decimal(value) - mean) < Decimal("1e-15")
            levels = {}
            ordered = sorted(
                (time, metrics["total_comparisons"])
                for time, metrics in reports
                if len(metrics) > 1 and "total_comparisons" in metrics
            )
            for time, level in ordered:
                levels[label_of(time, grain, tz)] = level
            earlier = [
                level
                for time, level in ordered
                if label_of(time, grain, tz) < labels[0][: len(label_of(time, grain, tz))]
            ]
            before = earlier[-1] if earlier else None
            for label, value in zip(labels, data(found)[2], strict=True):
                if label not in levels or before is None:
                    assert value is None
                else:
                    assert value == (levels[label] - before if levels[label] >= before else levels[label])
                before = levels.get(label, before)


def expected_labels(asked: str, now: datetime, tz: ZoneInfo) -> list[str]:
    """Every label of a range: walked in quarters of an hour, by the wall clock."""
    found: list[str] = []
    if asked == "24h":
        first, grain = now - timedelta(hours=23), "1h"
    else:
        first, grain = now - timedelta(days=DAYS[asked] + 1), "1d"
    time = first.replace(minute=0, second=0, microsecond=0) - timedelta(minutes=45)
    while time <= now:
        label = label_of(time, grain, tz)
        if label not in found:
            found.append(label)
        time += timedelta(minutes=15)
    if asked == "24h":
        return found[found.index(label_of(first, grain, tz)) :]
    return found[-DAYS[asked] :]


def label_of(time: datetime, grain: str, tz: ZoneInfo) -> str:
    """The name of a moment's bucket by the wall clock."""
    local = time.astimezone(tz)
    if grain == "1d":
        return f"{local:%Y-%m-%d}"
    naive = local.replace(tzinfo=None)
    offsets = {naive.replace(tzinfo=tz, fold=fold).utcoffset() for fold in (0, 1)}
    text = f"{local:%Y-%m-%dT%H}:00"
    return text if len(offsets) == 1 else text + f"{local:%z}"[:3] + ":" + f"{local:%z}"[3:]


def test_a_label_has_an_offset_only_where_there_are_two_of_its_name() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for hour, label in ((23, "2026-10-25T01:00"), (24, "2026-10-25T02:00+02:00"), (26, "2026-10-25T03:00")):
        assert bucket_label(datetime(2026, 10, 24, tzinfo=UTC) + timedelta(hours=hour), "1h", berlin) == label
    assert bucket_label(datetime(2026, 10, 24, 22, tzinfo=UTC), "1d", berlin) == "2026-10-25"
