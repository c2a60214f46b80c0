"""The reports of an organization's events: every figure against the events as they were sent, in every format."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from python_calamine import CalamineWorkbook

from jobs.reports.build import REPORT_TYPES, ReportType, build
from jobs.reports.encode_json import to_json
from jobs.reports.parameters import BadParameters, ReportParameters
from jobs.reports.recommendations import LIMITS
from jobs.reports.render import render
from jobs.reports.report import Report, ReportTable, Section
from storage.database import Database, StorageUnavailable
from tests.integration import trade_record
from tests.integration.api_service import NOON, Api, running
from tests.integration.trade_record import Sent, days_between, of_day, random_trades, within

BERLIN = ZoneInfo("Europe/Berlin")
FIRST, LAST = dt.date(2026, 3, 1), dt.date(2026, 3, 10)
DAYS = ReportParameters(first=FIRST, last=LAST, tz="Europe/Berlin")


@pytest.fixture
async def other(service_database: str) -> AsyncIterator[Api]:
    """Somebody of another organization."""
    async with running(service_database) as service:
        yield service


async def made(api: Api, kind: ReportType, parameters: ReportParameters = DAYS, **changes: Any) -> Report:
    """A report of the organization; it can be written in every format."""
    asked = msgspec.structs.replace(parameters, **changes)
    found = await build(kind, api.services.database, api.organization, asked, api.clock.now)
    assert render(found, "pdf").startswith(b"%PDF-")
    book = CalamineWorkbook.from_filelike(io.BytesIO(render(found, "excel")))
    assert book.sheet_names[0] == "Summary"
    told = json.loads(to_json(found), parse_float=Decimal)
    assert (told["type"], told["period"]["tz"]) == (kind, found.tz)
    return found


def table(section: Section, name: str) -> ReportTable:
    """A table by its name."""
    return next(one for one in section.tables if one.name == name)


def kpis(section: Section) -> dict[str, Any]:
    """Figures by name."""
    return {kpi.name: kpi.value for kpi in section.kpis}


def by_first(found: ReportTable) -> dict[Any, tuple[Any, ...]]:
    """The rows by their first cell."""
    return {row[0]: row[1:] for row in found.rows}


@pytest.mark.parametrize("kind", REPORT_TYPES)
async def test_nothing_sent_is_an_empty_report_that_says_so(api: Api, kind: ReportType) -> None:
    found = await made(api, kind)
    assert found.summary.startswith("No")
    assert not found.recommendations
    for section in found.sections:
        for value in kpis(section).values():
            assert value in (None, 0)
    assert all(not one.rows or one.name == "by_day" for one in found.tables())


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_statement_equals_the_trades_as_they_were_sent(api: Api, seed: int) -> None:
    trades = random_trades(seed, NOON - dt.timedelta(days=11), 11, 120)
    trades = [one for one in trades if one.closed <= NOON]
    await api.send([one.event(api) for one in trades])
    starting = {"USD": Decimal(1_000_000), "BTC": Decimal("0.5")}
    found = await made(api, "pnl", starting_equity=starting, appendix=50)
    wanted = within(trades, FIRST, LAST, BERLIN)
    assert [section.name for section in found.sections] == sorted({one.currency for one in wanted})
    listed = 0
    for section in found.sections:
        assert section.name is not None
        own = [one for one in wanted if one.currency == section.name]
        figures, values = trade_record.figures(own), kpis(section)
        assert (values["trades"], values["net"], values["profit"], values["loss"], values["fees"]) == (
            figures["totalTrades"],
            *(figures[name] for name in ("totalPnL", "profit", "loss", "fees")),
        )
        assert (values["best"], values["worst"]) == (figures["bestTrade"], figures["worstTrade"])
        days = of_day(own, BERLIN)
        level, levels = starting[section.name], [starting[section.name]]
        rows = by_first(table(section, "by_day"))
        for day in days_between(FIRST, LAST):
            net = trade_record.total(one.net for one in days.get(day, []))
            level = trade_record.ROOM.add(level, net)
            levels.append(level)
            if day in days:
                assert (rows[day][0], rows[day][4], rows[day][5]) == (len(days[day]), net, level)
            else:
                assert day not in rows
        fall = trade_record.deepest(levels, lambda high, low: trade_record.ROOM.subtract(high, low))
        assert values["drawdown"] == fall
        for key in ("symbol", "broker", "strategy"):
            groups = by_first(table(section, f"by_{key}"))
            assert set(groups) == {getattr(one, key) for one in own}
            for name, row in groups.items():
                of_group = [one for one in own if getattr(one, key) == name]
                assert (row[0], row[4]) == (len(of_group), trade_record.total(one.net for one in of_group))
        latest = table(section, "trades")
        listed += len(latest.rows)
        order = sorted((one.closed for one in own), reverse=True)
        assert [row[0] for row in latest.rows] == order[: len(latest.rows)]
        assert {str(row[0].utcoffset()) for row in latest.rows if isinstance(row[0], dt.datetime)} <= {"1:00:00"}
    assert listed == min(50, len(wanted))


async def test_filters_narrow_and_are_told(api: Api) -> None:
    trades = random_trades(5, NOON - dt.timedelta(days=6), 6, 40)
    await api.send([one.event(api) for one in trades])
    found = await made(api, "pnl", filters={"user_id": ("ann",)}, appendix=0)
    own = [one for one in within(trades, FIRST, LAST, BERLIN) if one.user_id == "ann"]
    assert sum(kpis(section)["trades"] for section in found.sections) == len(own)
    assert any("user_id is 'ann'" in note for note in found.footnotes)
    assert not any(one.name == "trades" for one in found.tables())


async def test_hostile_names_are_names(api: Api) -> None:
    names = ["=1+1", "<b>x</b>", "#strong[x]", "Ωμέγα", "Привет"]
    sent = [
        Sent(
            NOON - dt.timedelta(hours=n + 1),
            dt.timedelta(hours=1),
            name,
            name,
            name,
            name,
            "USD",
            Decimal(n),
            Decimal(0),
        )
        for n, name in enumerate(names)
    ]
    await api.send([one.event(api) for one in sent])
    (section,) = (await made(api, "pnl")).sections
    assert set(by_first(table(section, "by_symbol"))) == set(names)
    cjk = replace(sent[0], symbol="日経", closed=NOON - dt.timedelta(hours=9))
    await api.send([cjk.event(api)])
    found = await build("pnl", api.services.database, api.organization, DAYS, api.clock.now)
    assert b"\xe6\x97\xa5" in render(found, "json")
    assert render(found, "excel")
    with pytest.raises(ValueError, match=r"U\+65E5"):
        render(found, "pdf")


async def test_performance_operations_and_billing_show_what_was_reported(api: Api) -> None:
    day = dt.timedelta(days=1)
    events = []
    for back, host, errors, speed in (
        (1, "web-1", 0.5, 100.0),
        (1, "web-2", 8.0, 1400.0),
        (2, "web-1", 0.5, 200.0),
        (15, "web-1", 0.1, 90.0),
    ):
        metrics = {"error_rate": errors, "response_time": speed, "uptime": 99.95, "cpu_usage": 40.0}
        events.append(api.system(host, NOON - back * day, **metrics))
    for back, uptime, revenue in ((1, 98.5, 80), (12, 99.99, 200)):
        metrics = {"system_uptime": uptime, "revenue_generated": revenue, "response_time": 120}
        events.append(api.enterprise(NOON - back * day, **metrics))
    await api.send(events)

    found = await made(api, "performance")
    overview, details = found.sections
    assert (kpis(overview)["system_uptime"], kpis(overview)["cpu_usage"]) == (Decimal("98.5"), 40)
    assert by_first(table(details, "hosts"))["web-2"][3] == 8
    said = {(one.rule, one.level, one.subject) for one in found.recommendations}
    assert ("system_uptime", "urgent", None) in said
    assert ("error_rate", "urgent", "web-2") in said
    for one in found.recommendations:
        assert one.value is not None
        assert one.threshold is not None

    operations = await made(api, "operations")
    assert kpis(operations.sections[0])["error_rate"] == 3
    assert [row[1] for row in table(operations.sections[1], "by_day").rows] == [1, 2]

    billing = await made(api, "billing")
    assert kpis(billing.sections[0])["revenue_generated"] == 80
    assert ("revenue_generated_trend", Decimal(-60)) in {(one.rule, one.value) for one in billing.recommendations}

    usage = await made(api, "usage")
    counted = kpis(usage.sections[0])
    assert (counted["measurements"], counted["figures"]) == (12, 3)
    by_day = table(usage.sections[1], "by_day")
    assert by_day.totals is not None
    assert by_day.totals[1:3] == (12, 3)
    assert len(by_day.rows) == 10


async def test_teams_stand_side_by_side(api: Api) -> None:
    events = [
        api.enterprise(NOON - dt.timedelta(hours=n + 1), name, average_response_time=speed, api_requests=10)
        for n, (name, speed) in enumerate((("ml", 100), ("backend", 110), ("database", 400), ("ml", 120)))
    ]
    await api.send(events)
    found = await made(api, "team")
    teams = by_first(table(found.sections[0], "teams"))
    assert (teams["ml"][1], teams["ml"][7], kpis(found.sections[0])["api_requests"]) == (110, 20, 40)
    (outlier,) = [one for one in found.recommendations if one.rule == "average_response_time_outlier"]
    assert (outlier.subject, outlier.value, outlier.threshold) == ("database", 400, 220)


async def test_the_creators_board_and_what_the_period_brought(api: Api) -> None:
    events = [
        api.view(
            action,
            NOON - dt.timedelta(hours=n + 1),
            video_id=f"v{n % 3}",
            creator_id=f"c{n % 2}",
            user_id=f"u{n}",
            watch_ms=1500,
        )
        for n, action in enumerate(["view"] * 8 + ["like"] * 3 + ["complete"] * 2)
    ]
    await api.send(events)
    found = await made(api, "leaderboard")
    overview, details = found.sections
    assert (kpis(overview)["views"], kpis(overview)["likes"], kpis(overview)["creators"]) == (8, 3, 2)
    assert [row[0] for row in table(details, "standings").rows] == [1, 2]
    engagement = table(details, "engagement")
    assert engagement.totals is not None
    assert engagement.totals[1] == sum(int(str(row[1])) for row in engagement.rows) == 8


async def test_nobody_sees_anothers_rows(api: Api, other: Api) -> None:
    await api.send([one.event(api) for one in random_trades(9, NOON - dt.timedelta(days=4), 4, 10)])
    assert len((await made(api, "pnl")).sections) >= 1
    assert (await made(other, "pnl")).sections == ()


async def test_what_cannot_be_made_is_refused(api: Api) -> None:
    refused: list[tuple[str, dict[str, Any]]] = [
        ("first", {"first": LAST, "last": FIRST}),
        ("first", {"first": dt.date(2001, 1, 1)}),
        ("tz", {"tz": "Europe/Nowhere"}),
        ("appendix", {"appendix": -1}),
        ("filters", {"filters": {"side": ("buy",)}}),
        ("starting_equity", {"starting_equity": {"USD": Decimal(-1)}}),
    ]
    for parameter, changes in refused:
        with pytest.raises(BadParameters, match=f"^{parameter}: "):
            await made(api, "pnl", **changes)
    with pytest.raises(BadParameters, match="report_type"):
        await made(api, "gossip")  # type: ignore[arg-type]


async def test_a_query_that_fails_is_no_empty_report(api: Api, service_database: str) -> None:
    slow = Database(service_database)
    await slow.open()
    await slow.close()
    with pytest.raises(StorageUnavailable):
        await build("pnl", slow, api.organization, DAYS, api.clock.now)


def test_every_rule_is_documented() -> None:
    told = (Path(__file__).parents[2] / "docs" / "reports.md").read_text("utf-8")
    for rule, limit in LIMITS.items():
        line = next(line for line in told.splitlines() if line.startswith("|") and f"`{rule}`" in line)
        assert f"| {limit.attention} | {limit.urgent} |" in line, rule
