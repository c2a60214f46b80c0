"""`source=raw` and the latest trades over the table and the archive: the same answers as before anything was dropped, or none."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aggregators.definitions import ROLLUPS
from jobs.reports.build import build
from jobs.reports.parameters import ReportParameters
from storage.archive import Archive
from storage.archive_write import archive_days
from storage.raw_days import drop_raw_days
from tests.integration.api_service import NOON, Api, another, running

DAYS = 12
FIRST = NOON - dt.timedelta(days=DAYS)
LEFT = NOON.date() - dt.timedelta(days=4)
"""What is older is archived and dropped."""


@pytest.fixture
async def service(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A service with an archive of its own."""
    async with running(database_url, archive=Archive(tmp_path / "archive"), refreshing=False) as api:
        yield api


async def archived(api: Api, before: dt.date = LEFT) -> None:
    """Archives and drops the older days."""
    archive = api.services.archive
    assert archive is not None
    assert archive_days(api.services.database.url, archive, before).problem is None
    dropped, kept = await drop_raw_days(api.services.database, before, archive)
    assert (dropped > 0, kept) == (True, [])


def events(api: Api, chance: random.Random, number: int, mark: str = "") -> list[dict[str, Any]]:
    """Random events of every kind over the days."""
    made = []
    for _ in range(number):
        time = FIRST + dt.timedelta(seconds=chance.randrange(DAYS * 86_400))
        name = mark + chance.choice("ab")
        made += [
            api.system(name, time, cpu_usage=chance.lognormvariate(3, 2), uptime=float(chance.randrange(9))),
            api.system(f"{name} GET /x", time, **{"api.request_time": chance.randrange(1, 99), "api.requests": 3}),
            api.enterprise(time, chance.choice([None, "ml"]), revenue_generated=chance.randrange(10**9) / 1000),
            api.trade(time, f"{chance.randrange(-(10**9), 10**9)}.125", symbol=name, fees="0.5"),
            api.view(chance.choice(["view", "like"]), time, creator_id=name, user_id=str(chance.randrange(40))),
        ]
    return made


def same(one: Any, other: Any) -> bool:
    """Equal; a float but for the order in which it was added up."""
    if one is None or other is None or isinstance(one, str):
        return bool(one == other)
    return math.isclose(float(one), float(other), rel_tol=1e-9, abs_tol=1e-9)


async def test_random_questions_have_the_same_answer_from_the_raw_events(service: Api) -> None:
    chance = random.Random(21)
    async with another(service, "other") as other:
        await other.send(events(other, chance, 100, "other-"), wait=False)
        await service.send(events(service, chance, 250), wait=False)
        await archived(service)
        found = 0
        for number in range(40):
            rollup = ROLLUPS[number % len(ROLLUPS)]
            start = FIRST + dt.timedelta(minutes=chance.randrange(DAYS * 1_000))
            asked: dict[str, Any] = {
                "measures": ",".join(rollup.public_names()),
                "from_": start.isoformat(),
                "to": (start + dt.timedelta(minutes=chance.randrange(60, DAYS * 1_440))).isoformat(),
                "tz": chance.choice(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
                "limit": chance.choice([7, 10_000]),
            }
            if chance.random() < 0.7:
                asked["group_by"] = ",".join(chance.sample(rollup.keys, chance.randrange(1, len(rollup.keys) + 1)))
            if "metric" in rollup.keys and "metric" not in asked.get("group_by", ""):
                # Which of an event's metrics is the last one, nobody could say.
                asked["measures"] = asked["measures"].replace(",last,", ",")
            if grain := chance.choice([None, "1h", "1d", "1w"]):
                asked["grain"] = grain
            if rollup.name in ("system_metrics", "trade_pnl") and chance.random() < 0.5:
                asked["filter"] = "host:a" if rollup.event == "system" else "symbol:a"
            replies = [await service.query(rollup.name, source=source, **asked) for source in ("rollup", "raw")]
            if replies[0].status == 400:
                assert [reply.json["parameter"] for reply in replies] == ["grain"] * 2
                continue
            stored, raw = (reply.json for reply in replies)
            assert {n: v for n, v in raw.items() if n != "rows"} == {n: v for n, v in stored.items() if n != "rows"}
            assert "X-As-Of" in replies[1].headers
            assert len(raw["rows"]) == len(stored["rows"])
            for row, expected in zip(raw["rows"], stored["rows"], strict=True):
                assert all(map(same, row, expected)), (
                    asked,
                    [(a, b) for a, b in zip(row, expected, strict=True) if a != b],
                )
            found += len(raw["rows"])
            assert "other-" not in replies[1].text
        assert found > 200


async def test_a_question_to_the_raw_events_is_bounded_and_says_so(
    service: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.send(events(service, random.Random(1), 20), wait=False)
    long = await service.query("trade_pnl", source="raw", from_="2024-01-01", to="2026-03-10")
    assert (long.status, long.json["parameter"]) == (400, "from")
    assert "at most 366 days" in long.json["detail"]
    monkeypatch.setattr("storage.raw_question.MAX_RAW_EVENTS", 19)
    many = await service.query("trade_pnl", source="raw", from_="2026-02-20", to="2026-03-12")
    assert (many.status, many.json["parameter"]) == (400, "from")
    assert "at most 19 events" in many.json["detail"]
    monkeypatch.setattr("storage.raw_question.MAX_RAW_EVENTS", 20)
    monkeypatch.setattr("storage.raw_question.MAX_RAW_ROWS", 1)
    many = await service.query("trade_pnl", source="raw", from_="2026-02-20", to="2026-03-11")
    assert (many.status, many.json["parameter"]) == (400, "from")
    assert "at most 1 buckets of keys" in many.json["detail"]
    stream = await service.get("/api/v1/stream", rollup="trade_pnl", source="raw")
    assert (stream.status, stream.json["parameter"]) == (400, "source")
    neither = await service.query("trade_pnl", source="both")
    assert (neither.status, neither.json["parameter"]) == (400, "source")


async def test_a_damaged_file_is_named_and_nothing_smaller_is_answered(service: Api) -> None:
    await service.send([service.trade(FIRST, "1"), service.trade(NOON, "2")])
    await archived(service)
    asked = {"source": "raw", "measures": "net", "from_": "2026-02-20", "to": "2026-03-12"}
    assert (await service.query("trade_pnl", **asked)).rows == [[3]]
    archive = service.services.archive
    assert archive is not None
    (place,) = archive.folder.glob("trade/*/*/*.parquet")
    place.rename(place.with_suffix(".moved"))
    refused = await service.query("trade_pnl", **{**asked, "measures": "net,trades"})
    assert refused.status == 503
    assert f"{place.relative_to(archive.folder)} (trade events of 2026-02-26) is missing" in refused.json["detail"]
    assert (await service.query("trade_pnl", **{**asked, "source": "rollup", "tz": "UTC"})).rows == [[3]]


async def test_the_appendix_of_a_statement_is_the_same_before_and_after(service: Api) -> None:
    await service.send([event for event in events(service, random.Random(5), 40) if event["type"] == "trade"])
    days = ReportParameters(first=FIRST.date(), last=NOON.date(), appendix=50)

    async def appendix() -> Any:
        parts = service.services
        made = await build("pnl", parts.database, service.organization, days, service.clock.now, parts.archive)
        return next(table for table in made.sections[0].tables if table.name == "trades")

    before = await appendix()
    assert len(before.rows) == 40
    await archived(service)
    assert await appendix() == before


async def test_the_latest_trades_are_the_same_before_and_after_they_were_archived(service: Api) -> None:
    chance = random.Random(3)
    await service.send([event for event in events(service, chance, 120) if event["type"] == "trade"])

    async def pages(**more: Any) -> list[Any]:
        listed: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            reply = await service.get(
                "/api/unify/v1/analytics/trades",
                recent=17,
                time_range="30d",
                limit=10 + len(listed) % 3,
                **more,
                **cursor,
            )
            assert reply.status == 200, reply.text
            recent = reply.json["trades"]
            assert recent["archived"] is False
            listed += recent["items"]
            if recent["cursor"] is None:
                return listed
            cursor = {"cursor": recent["cursor"]}

    before = await pages(), await pages(symbol="a")
    assert [len(before[0]), 0 < len(before[1]) < 120] == [120, True]
    await archived(service)
    await service.request("POST", "/cache/invalidate")
    assert (await pages(tz="UTC"), await pages(symbol="a", tz="UTC")) == before
