"""The figures of `/api/v1/query` against duckdb over the raw events: any range, zone and filter, at every grain."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from tests.integration.api_service import Api

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "America/New_York")
BEGIN, END = datetime(2025, 10, 20, tzinfo=UTC), datetime(2025, 11, 10, tzinfo=UTC)
"""Three weeks in which the clocks of Berlin, St. John's and New York are set back."""

SECONDS = int((END - BEGIN).total_seconds())
HOSTS = ("a", "b:1", "c,2")
WIDTHS = {"1m": 60, "5m": 300, "15m": 900}

Raw = list[tuple[datetime, str, str, float]]


def local_bucket(time: datetime, grain: str, zone: ZoneInfo) -> str:
    """The bucket of a moment by the wall clock of a zone, in the zone's own words."""
    if grain in WIDTHS:
        return datetime.fromtimestamp(time.timestamp() // WIDTHS[grain] * WIDTHS[grain], zone).isoformat()
    local = time.astimezone(zone)
    if grain == "1h":
        return local.replace(minute=0, second=0, microsecond=0).isoformat()
    day = local.date()
    if grain == "1w":
        day -= timedelta(days=day.weekday())
    elif grain == "1mo":
        day = day.replace(day=1)
    return datetime(day.year, day.month, day.day, tzinfo=zone).isoformat()


def widened(start: datetime, end: datetime, seconds: int) -> tuple[datetime, datetime]:
    """The range grown to whole buckets of so many seconds."""
    low = math.floor(start.timestamp() / seconds) * seconds
    high = math.ceil(end.timestamp() / seconds) * seconds
    return datetime.fromtimestamp(low, UTC), datetime.fromtimestamp(high, UTC)


def close(found: Any, expected: Any, relative: float) -> bool:
    return math.isclose(float(found), float(expected), rel_tol=relative, abs_tol=1e-9)


async def measured(api: Api, chance: random.Random) -> Raw:
    """Sends measurements of every size and both signs at random moments, and returns them."""
    raw: Raw = []
    for _ in range(6_000):
        time = BEGIN + timedelta(seconds=chance.randrange(SECONDS), microseconds=chance.randrange(1_000_000))
        value = chance.choice([0.0, 1.0, -1.0, 1.0]) * chance.lognormvariate(0, 6)
        raw.append((time, chance.choice(HOSTS), chance.choice(["cpu_usage", "temperature"]), value))
    await api.send([api.system(host, time, **{metric: value}) for time, host, metric, value in raw])
    return raw


async def test_measurements_agree_with_duckdb(api: Api) -> None:
    chance = random.Random(20_260_310)
    raw = await measured(api, chance)
    with duckdb.connect() as duck:
        duck.execute("create table raw (bucket varchar, host varchar, metric varchar, value double)")
        for number in range(36):
            grain = [*WIDTHS, "1h", "1d", "1w", "1mo", None][number % 8]
            zone = ZoneInfo(ZONES[number % len(ZONES)])
            start = BEGIN + timedelta(seconds=chance.randrange(SECONDS - 90_000))
            longest = 86_400 if grain in ("1m", "5m") else SECONDS
            end = min(END, start + timedelta(seconds=chance.randrange(3_600, longest)))
            percentiles = grain not in ("1m", "5m") and number % 3 == 0
            low, high = widened(start, end, 900 if percentiles else 60)
            wanted = chance.sample(HOSTS, 2)
            kept = [
                (local_bucket(time, grain, zone) if grain else "", host, metric, value)
                for time, host, metric, value in raw
                if low <= time < high and host in wanted
            ]
            duck.execute("delete from raw")
            if kept:
                columns = [list(column) for column in zip(*kept, strict=True)]
                duck.execute("insert into raw select unnest(?), unnest(?), unnest(?), unnest(?)", columns)
            expected = duck.execute(
                "select bucket, host, metric, count(*), sum(value), avg(value), min(value), max(value),"
                " quantile_disc(value, 0.5), quantile_disc(value, 0.95), quantile_disc(value, 0.99)"
                " from raw group by all"
            ).fetchall()
            measures = "count,sum,avg,min,max" + (",p50,p95,p99" if percentiles else "")
            asked = {"grain": grain} if grain else {}
            found = await api.query(
                "system_metrics",
                measures=measures,
                group_by="host,metric",
                filter="host:" + ",".join(host.replace(",", "\\,") for host in wanted),
                from_=start.isoformat(),
                to=end.isoformat(),
                tz=zone.key,
                **asked,
            )
            rows = {tuple(row[: len(row) - measures.count(",") - 1]): row for row in found.rows}
            assert len(rows) == len(found.rows) == len(expected)
            for bucket, host, metric, *figures in expected:
                row = rows[(bucket, host, metric) if grain else (host, metric)][-measures.count(",") - 1 :]
                assert row[0] == figures[0]
                assert close(row[1], figures[1], 1e-9), (grain, zone, row, figures)
                assert close(row[2], figures[2], 1e-9)
                assert (float(row[3]), float(row[4])) == (figures[3], figures[4])
                for mine, theirs in zip(row[5:], figures[5:], strict=False):
                    assert close(mine, theirs, 0.01), (grain, zone, mine, theirs)


async def test_trades_agree_with_duckdb_to_the_last_digit(api: Api) -> None:
    chance = random.Random(7)
    trades = []
    for _ in range(1_500):
        closed = BEGIN + timedelta(seconds=chance.randrange(SECONDS))
        pnl = Decimal(chance.randrange(-(10**20), 10**20)).scaleb(-chance.randrange(6, 19)) * chance.choice(
            [0, 1, 1, 1]
        )
        fees = Decimal(chance.randrange(10**12)).scaleb(-10)
        trades.append((closed, chance.choice("xyz"), f"{pnl:f}"[:36], f"{fees:f}"))
    await api.send([api.trade(closed, pnl, symbol=symbol, fees=fees) for closed, symbol, pnl, fees in trades])
    zone = ZoneInfo("Asia/Kathmandu")
    with duckdb.connect() as duck:
        duck.execute("create table raw (bucket varchar, symbol varchar, net decimal(38, 18))")
        rows = [
            (local_bucket(closed, "1d", zone), symbol, f"{Decimal(pnl) - Decimal(fees):.18f}")
            for closed, symbol, pnl, fees in trades
        ]
        columns = [list(column) for column in zip(*rows, strict=True)]
        duck.execute("insert into raw select unnest(?), unnest(?), unnest(?)::decimal(38, 18)", columns)
        expected = duck.execute(
            "select bucket, symbol, count(*), count(*) filter (net > 0), sum(net),"
            " coalesce(sum(net) filter (net > 0), 0), coalesce(-sum(net) filter (net < 0), 0), max(net), min(net)"
            " from raw group by all order by all"
        ).fetchall()
    found = await api.query(
        "trade_pnl",
        measures="trades,wins,net,profit,loss,best,worst",
        group_by="symbol",
        grain="1d",
        tz=zone.key,
        from_="2025-10-19",
        to="2025-11-12",
    )
    assert found.rows == [list(row) for row in expected]


async def test_viewers_and_actions_agree_with_a_count_of_the_raw_events(api: Api) -> None:
    chance = random.Random(11)
    seen = defaultdict(set)
    views: defaultdict[str, int] = defaultdict(int)
    events = []
    for _ in range(4_000):
        creator, viewer, action = chance.choice("pq"), chance.randrange(900), chance.choice(["view", "view", "share"])
        who = {"user_id": str(viewer)} if viewer % 2 else {"user_id": None, "session_id": str(viewer)}
        seen[creator].add(viewer)
        views[creator] += action == "view"
        time = BEGIN + timedelta(seconds=chance.randrange(SECONDS))
        event = api.view(action, time, creator_id=creator, **who)
        event["data"] = {name: value for name, value in event["data"].items() if value is not None}
        events.append(event)
    await api.send(events)
    rows = (
        await api.query(
            "video_engagement", measures="views,viewers", group_by="creator_id", from_="2025-10-01", to="2025-12-01"
        )
    ).rows
    for creator, count, viewers in rows:
        assert count == views[creator]
        assert viewers == pytest.approx(len(seen[creator]), rel=4 * 0.016)
    assert len(rows) == 2
