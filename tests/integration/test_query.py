"""`/api/v1/query`: buckets of every grain in the asker's zone, groups, filters, measures, CSV, filling and paging."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from aggregators.definitions import ROLLUPS
from tests.integration.api_service import NOON, Api

STORED = ("1m", "15m", "1h", "1d")
QUARTER = timedelta(minutes=15)


async def beats(api: Api, start: datetime, end: datetime, host: str = "web", step: timedelta = QUARTER) -> None:
    """A measurement of 1 each step of a range."""
    number = int((end - start) / step)
    await api.send([api.system(host, start + n * step, beat=1) for n in range(number)])


DAYS: list[tuple[str, str, dict[str, int]]] = [
    ("Europe/Berlin", "2025-03-29", {"2025-03-29": 96, "2025-03-30": 92, "2025-03-31": 96}),
    ("Europe/Berlin", "2025-10-25", {"2025-10-25": 96, "2025-10-26": 100, "2025-10-27": 96}),
    ("America/St_Johns", "2025-03-08", {"2025-03-08": 96, "2025-03-09": 92, "2025-03-10": 96}),
    ("America/St_Johns", "2025-11-01", {"2025-11-01": 96, "2025-11-02": 100, "2025-11-03": 96}),
    # Until 2011 clocks in St. John's were set back at 00:01 to 23:01 of the day before: it goes on after its own midnight.
    ("America/St_Johns", "2010-11-05", {"2010-11-05": 96, "2010-11-06": 100, "2010-11-07": 96}),
    # In Havana midnight comes twice, and both are of the new day.
    ("America/Havana", "2025-11-01", {"2025-11-01": 96, "2025-11-02": 100, "2025-11-03": 96}),
    # In Asunción and Cairo the hour after midnight did not exist.
    ("America/Asuncion", "2023-09-30", {"2023-09-30": 96, "2023-10-01": 92, "2023-10-02": 96}),
    ("Africa/Cairo", "2025-04-24", {"2025-04-24": 96, "2025-04-25": 92, "2025-04-26": 96}),
    ("Australia/Lord_Howe", "2025-04-05", {"2025-04-05": 96, "2025-04-06": 98, "2025-04-07": 96}),
    ("Asia/Kolkata", "2025-07-01", {"2025-07-01": 96, "2025-07-02": 96}),
    ("Asia/Kathmandu", "2025-07-01", {"2025-07-01": 96, "2025-07-02": 96}),
    ("UTC", "2025-07-01", {"2025-07-01": 96, "2025-07-02": 96}),
]
"""Days of the year in which clocks change, and how many quarters of an hour each has."""


async def test_days_and_hours_are_those_of_the_zone(api: Api) -> None:
    for number, (zone, start, days) in enumerate(DAYS):
        begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
        await beats(api, begin - timedelta(days=1), begin + timedelta(days=5), host=f"host {number}")
        await days_and_hours(api, zone, f"host:host {number}", days)


async def days_and_hours(api: Api, zone: str, host: str, days: dict[str, int]) -> None:
    """The quarters counted of every day and hour, of all days together and of each alone."""
    start = min(days)
    last = (datetime.fromisoformat(start) + timedelta(days=len(days))).date().isoformat()
    asked: dict[str, Any] = {"from_": start, "to": last, "tz": zone, "measures": "count", "filter": host}
    rows = (await api.query("system_metrics", grain="1d", **asked)).rows
    assert {time[:10]: count for time, count in rows} == days
    assert len(rows) == len(days)
    starts = [datetime.fromisoformat(time) for time, _ in rows]
    hours = (await api.query("system_metrics", grain="1h", **asked)).rows
    for day, begins in zip(days, starts, strict=True):
        ends = begins + days[day] * QUARTER
        assert sum(count for time, count in hours if begins <= datetime.fromisoformat(time) < ends) == days[day]
    # Lord Howe's clocks move by half an hour, so that one hour a year has another beginning.
    assert {datetime.fromisoformat(time).minute for time, _ in hours} == ({0, 30} if "Lord_Howe" in zone else {0})
    for grain in ("1h", "1d"):
        plain = (await api.query("system_metrics", grain=grain, **asked)).rows
        assert (await api.query("system_metrics", grain=grain, fill="zero", **asked)).rows == plain
        # A single day is the same whether it is asked for alone or among others.
        alone = []
        for day in days:
            following = (datetime.fromisoformat(day) + timedelta(days=1)).date().isoformat()
            alone += (
                await api.query("system_metrics", **{**asked, "grain": grain, "from_": day, "to": following})
            ).rows
        assert alone == plain


async def test_every_grain_and_no_grain(api: Api) -> None:
    await beats(api, datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC), step=timedelta(hours=6))
    asked: dict[str, Any] = {"measures": "count", "from_": "2025-12-01", "to": "2026-02-01", "tz": "UTC"}
    expected = {"1m": 248, "5m": 248, "15m": 248, "1h": 248, "1d": 62, "1w": 9, "1mo": 2}
    for grain, number in expected.items():
        reply = await api.query("system_metrics", grain=grain, **asked)
        assert len(reply.rows) == number, grain
        assert sum(row[1] for row in reply.rows) == 248
        assert (reply.json["grain"], reply.json["columns"]) == (grain, ["time", "count"])
    weeks = (await api.query("system_metrics", grain="1w", **asked)).rows
    assert {datetime.fromisoformat(time).weekday() for time, _ in weeks} == {0}
    months = (await api.query("system_metrics", grain="1mo", **{**asked, "tz": "Asia/Kathmandu"})).rows
    assert [time for time, _ in months] == [
        f"{month}-01T00:00:00+05:45" for month in ("2025-12", "2026-01", "2026-02")
    ][: len(months)]
    assert (await api.query("system_metrics", **asked)).rows == [[248]]
    grains = (await api.get("/api/v1/rollups")).json["query_grains"]
    assert grains == list(expected)


async def test_every_rollup_of_the_catalogue_answers_every_figure_at_every_grain(api: Api) -> None:
    time = NOON - timedelta(hours=1)
    await api.send(
        [
            api.system("web", time, cpu_usage=3.5),
            api.enterprise(time, revenue_generated=1.5),
            api.trade(time, "2.5"),
            api.view("view", time, watch_ms=1000),
            api.system("web/api GET /x", time, **{"api.request_time": 12.5, "api.requests": 3}),
        ]
    )
    catalogue = (await api.get("/api/v1/rollups")).json["rollups"]
    assert [entry["name"] for entry in catalogue] == [rollup.name for rollup in ROLLUPS]
    for entry in catalogue:
        assert entry["doc"]
        assert all(measure["doc"] for measure in entry["measures"])
        for grain in (None, *STORED):
            names = [
                m["name"]
                for m in entry["measures"]
                if grain is None or STORED.index(m["grains"][0]) <= STORED.index(grain)
            ]
            if names:
                asked = {"grain": grain} if grain else {}
                reply = await api.query(
                    entry["name"], measures=",".join(names), group_by=",".join(entry["keys"]), **asked
                )
                assert len(reply.rows) == (3 if entry["name"] == "system_metrics" else 1), (entry["name"], reply.text)
                assert reply.json["columns"] == [*(["time"] if grain else []), *entry["keys"], *names]


async def test_groups_are_in_order_and_filters_narrow(api: Api) -> None:
    hosts = ["a:b", "a,b", "a\\b", "Zebra", "äpfel", "a"]
    await api.send([api.system(host, cpu_usage=n, memory_usage=1) for n, host in enumerate(hosts)])

    async def found(*filters: str) -> list[str]:
        rows = (await api.query("system_metrics", measures="count", group_by="host", filter=list(filters))).rows
        return [row[0] for row in rows]

    assert await found() == sorted(hosts)
    assert await found("host:a:b") == ["a:b"]
    assert await found("host:a\\,b") == ["a,b"]
    assert await found("host:a,b") == ["a"]
    assert await found("host:a\\b") == ["a\\b"]
    assert await found("host:Zebra,äpfel,nobody") == ["Zebra", "äpfel"]
    assert await found("host:Zebra,a", "metric:memory_usage") == ["Zebra", "a"]
    assert await found("host:") == []
    rows = (await api.query("system_metrics", measures="max", group_by="metric,host", filter="host:Zebra")).rows
    assert rows == [["cpu_usage", "Zebra", 3], ["memory_usage", "Zebra", 1]]


async def test_an_optional_key_that_is_absent_is_null(api: Api) -> None:
    await api.send([api.trade(NOON, "1"), api.trade(NOON, "2", strategy="swing"), api.enterprise(NOON, active_users=5)])

    async def found(**more: Any) -> list[Any]:
        return (await api.query("trade_pnl", measures="net", group_by="strategy", **more)).rows

    assert await found() == [[None, 1], ["swing", 2]]
    assert await found(filter="strategy:") == [[None, 1]]
    assert await found(filter="strategy:,swing") == [[None, 1], ["swing", 2]]
    assert (await api.query("enterprise_metrics", measures="last", group_by="team_type")).rows == [[None, 5]]
    first = await api.query("trade_pnl", measures="net", group_by="strategy", limit=1)
    second = await api.query("trade_pnl", measures="net", group_by="strategy", limit=1, cursor=first.json["cursor"])
    assert first.rows + second.rows == [[None, 1], ["swing", 2]]


async def test_amounts_are_exact_to_the_last_digit(api: Api) -> None:
    high, low = "123456789012345678.123456789012345678", "-123456789012345678.123456789012345677"
    await api.send([api.trade(NOON, "0.1", user_id="sum"), api.trade(NOON, "0.2", user_id="sum")])
    await api.send([api.trade(NOON, high, user_id="wide") for _ in range(9)])
    await api.send([api.trade(NOON, high, user_id="tiny"), api.trade(NOON, low, user_id="tiny")])
    reply = await api.query("trade_pnl", measures="net,best,worst", group_by="user_id")
    wide = Decimal("1111111101111111103.111111101111111102")
    assert reply.rows == [
        ["sum", Decimal("0.3"), Decimal("0.2"), Decimal("0.1")],
        ["tiny", Decimal("1E-18"), Decimal(high), Decimal(low)],
        ["wide", wide, Decimal(high), Decimal(high)],
    ]
    assert '["sum",0.3,0.2,0.1]' in reply.text
    assert "1111111101111111103.111111101111111102" in reply.text
    table = (await api.query("trade_pnl", measures="net", group_by="user_id", headers={"Accept": "text/csv"})).text
    assert table.splitlines() == ["user_id,net", "sum,0.3", "tiny,0.000000000000000001", f"wide,{wide}"]
    await api.send([api.enterprise(NOON, revenue_generated=int("9" * 18)) for _ in range(100)])
    assert (await api.query("enterprise_metrics", measures="sum")).rows == [[int("9" * 18) * 100]]


async def test_csv_is_safe_to_open(api: Api) -> None:
    hosts = ["=1+1", "+1", "-1", "@x", "\tx", 'a"b,c\nd', "plain"]
    await api.send([api.system(host, cpu_usage=-1.5) for host in hosts])
    asked: dict[str, Any] = {"measures": "last", "group_by": "host", "grain": "1h"}
    reply = await api.query("system_metrics", headers={"Accept": "text/csv"}, **asked)
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    table = list(csv.reader(io.StringIO(reply.text, newline="")))
    assert table[0] == ["time", "host", "last"]
    assert {row[1] for row in table[1:]} == {"'=1+1", "'+1", "'-1", "'@x", "'\tx", 'a"b,c\nd', "plain"}
    assert {row[2] for row in table[1:]} == {"-1.5"}
    assert {row[0] for row in table[1:]} == {"2026-03-10T12:00:00+00:00"}
    assert (await api.query("system_metrics", headers={"Accept": "image/png"})).status == 406
    page = await api.query("system_metrics", headers={"Accept": "text/csv"}, limit=3, **asked)
    rest = await api.query(
        "system_metrics", headers={"Accept": "text/csv"}, cursor=page.headers["X-Next-Cursor"], **asked
    )
    assert page.text + rest.text.partition("\r\n")[2] == reply.text


async def test_empty_buckets_are_left_out_or_filled(api: Api) -> None:
    await api.send([api.system("a", NOON - timedelta(hours=3), x=2), api.system("b", NOON - timedelta(hours=1), x=4)])
    asked: dict[str, Any] = {
        "measures": "avg,count",
        "group_by": "host",
        "grain": "1h",
        "from_": "now-4h",
        "to": "2026-03-10T12:00Z",
    }
    nine, ten, eleven = (f"2026-03-10T{hour:02}:00:00+00:00" for hour in (9, 10, 11))
    assert (await api.query("system_metrics", **asked)).rows == [[nine, "a", 2, 1], [eleven, "b", 4, 1]]
    for fill, blank in (("null", None), ("zero", 0)):
        reply = await api.query("system_metrics", fill=fill, **asked)
        assert reply.rows[-6:] == [
            [nine, "a", 2, 1],
            [nine, "b", blank, blank],
            [ten, "a", blank, blank],
            [ten, "b", blank, blank],
            [eleven, "a", blank, blank],
            [eleven, "b", 4, 1],
        ]
        assert reply.json["cursor"] is None
    alone = await api.query(
        "system_metrics", fill="zero", measures="count", grain="1d", from_="2026-03-01", to="2026-03-11"
    )
    assert [count for _, count in alone.rows] == [0] * 9 + [2]
    assert (await api.query("system_metrics", fill="zero", filter="host:nobody", **asked)).rows == []


async def test_pages_hold_every_row_once_while_time_goes_on(api: Api) -> None:
    times = [NOON - timedelta(days=n // 3, minutes=37 * n) for n in range(60)]
    await api.send([api.system(f"host {n % 7}", time, cpu_usage=n, memory_usage=n) for n, time in enumerate(times)])
    asked: dict[str, Any] = {
        "measures": "count,last",
        "group_by": "host,metric",
        "from_": "now-40d",
        "tz": "America/Havana",
    }
    for grain in ("1m", "1d", None):
        await paged(api, asked | ({"grain": grain} if grain else {}))


async def paged(api: Api, asked: dict[str, Any]) -> None:
    """Reads the pages of an answer in several sizes, and the clock moves on between them."""
    whole = await api.query("system_metrics", **asked)
    assert whole.json["cursor"] is None
    for limit in (7, 50, len(whole.rows)):
        rows: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            reply = await api.query("system_metrics", limit=limit, **asked, **cursor)
            assert len(reply.rows) <= limit
            rows += reply.rows
            api.clock.now += timedelta(minutes=5)
            if reply.json["cursor"] is None:
                break
            cursor = {"cursor": reply.json["cursor"]}
        assert rows == whole.rows, limit
        api.clock.now = NOON + timedelta(seconds=30)


async def test_the_range_that_was_read_is_told(api: Api) -> None:
    await beats(api, NOON - timedelta(hours=3), NOON, step=timedelta(minutes=1))
    asked: dict[str, Any] = {"from_": "2026-03-10T10:07:30Z", "to": "2026-03-10T11:22:10Z"}
    fine = await api.query("system_metrics", measures="count", **asked)
    assert (fine.json["from"], fine.json["to"]) == ("2026-03-10T10:07:00+00:00", "2026-03-10T11:23:00+00:00")
    assert fine.rows == [[76]]
    # Percentiles are kept from quarters of an hour upward: the range grows to whole ones, for all figures of the answer.
    coarse = await api.query("system_metrics", measures="count,p95", tz="Asia/Kolkata", **asked)
    assert (coarse.json["from"], coarse.json["to"]) == ("2026-03-10T15:30:00+05:30", "2026-03-10T17:00:00+05:30")
    assert coarse.rows[0][0] == 90


async def test_ranges_as_people_write_them(api: Api) -> None:
    await beats(api, NOON - timedelta(days=3), NOON)
    at: list[tuple[str, str, str, int]] = [
        ("2026-03-09", "2026-03-10", "UTC", 96),
        ("2026-03-09", "2026-03-10", "Asia/Kathmandu", 96),
        ("2026-03-09T10:00", "2026-03-09T11:00", "UTC", 4),
        ("2026-03-09T10:00:00Z", "2026-03-09T12:00:00+01:00", "Asia/Tokyo", 4),
        ("2026-03-09 10:00", "2026-03-09 11:00", "UTC", 4),
        ("now-2h", "now", "UTC", 8),
        ("now-1d", "now-90m", "UTC", 91),
    ]
    for from_, to, zone, number in at:
        rows = (await api.query("system_metrics", measures="count", from_=from_, to=to, tz=zone)).rows
        assert rows == [[number]], (from_, to, zone)
    # The last 24 hours, up to the end of the running minute, are what is meant where nothing is said.
    assert (await api.query("system_metrics", measures="count")).rows == [[95]]
