"""Deployments in the operations report: every figure against the deployments as they were recorded, in every format."""

from __future__ import annotations

import asyncio
import io
import random
import subprocess
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

from python_calamine import CalamineWorkbook

from jobs.reports.render import render
from jobs.reports.report import Report, Section
from tests.integration.api_service import NOON, Api, another
from tests.integration.test_reports import BERLIN, FIRST, LAST, kpis, made, table

PATH = "/api/v1/deployments"
OVER = ("succeeded", "failed", "rolled_back")


@dataclass
class Recorded:
    """A deployment as it was sent."""

    service: str
    status: str
    started: datetime
    finished: datetime | None
    version: str = "1.2.3"

    @property
    def seconds(self) -> Fraction | None:
        return (
            None
            if self.finished is None
            else Fraction((self.finished - self.started) // timedelta(microseconds=1), 10**6)
        )


async def record(api: Api, *deployments: Recorded) -> None:
    for one in deployments:
        body = {"service": one.service, "version": one.version, "environment": "production", "status": one.status}
        body["started_at"] = one.started.isoformat()
        if one.finished is not None:
            body["finished_at"] = one.finished.isoformat()
        reply = await api.request("POST", PATH, json=body)
        assert reply.status == 201, reply.text


def deployments_of(report: Report) -> Section:
    return next(section for section in report.sections if section.name == "deployments")


def rounded(value: Fraction, places: int = 0) -> Decimal:
    return (Decimal(value.numerator) / value.denominator).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)


def expected(deployments: list[Recorded]) -> dict[str, Any]:
    """The figures, computed in plain Python."""
    counts = Counter(one.status for one in deployments)
    over = [one for one in deployments if one.seconds is not None]
    total = sum((one.seconds for one in over if one.seconds is not None), Fraction(0))
    return {
        "deployments": len(deployments),
        **{status: counts[status] for status in OVER},
        "in_progress": counts["pending"] + counts["running"],
        "success_rate": rounded(Fraction(100 * counts["succeeded"], len(over)), 2) if over else None,
        "mean_duration": rounded(total / len(over)) if over else None,
        "services": len({one.service for one in deployments}),
    }


def random_deployments(seed: int, number: int) -> list[Recorded]:
    chance = random.Random(seed)
    found = []
    for _ in range(number):
        started = NOON - timedelta(seconds=chance.randrange(12 * 86_400), microseconds=chance.randrange(10**6))
        status = chance.choice([*OVER, "succeeded", "succeeded", "pending", "running"])
        took = timedelta(seconds=chance.randrange(900), microseconds=chance.randrange(10**6))
        finished = min(started + took, NOON) if status in OVER else None
        found.append(Recorded(chance.choice("abc"), status, started, finished))
    return found


async def test_figures_equal_the_deployments_as_they_were_recorded(api: Api) -> None:
    sent = random_deployments(4, 150)
    # On both sides of the first midnight in Berlin, an hour before that of UTC.
    midnight = datetime(2026, 2, 28, 23, tzinfo=UTC)
    sent += [
        Recorded("edge", "succeeded", midnight - timedelta(microseconds=1), midnight),
        Recorded("edge", "failed", midnight, midnight + timedelta(seconds=1)),
    ]
    await record(api, *sent)
    async with another(api, "Other") as other:
        await record(other, Recorded("theirs", "failed", NOON - timedelta(hours=1), NOON))

    report = await made(api, "operations")
    section = deployments_of(report)
    wanted = [one for one in sent if FIRST <= one.started.astimezone(BERLIN).date() <= LAST]
    assert kpis(section) == expected(wanted)
    names = ("deployments", "succeeded", "failed", "rolled_back", "in_progress", "success_rate", "mean_duration")
    by_service = table(section, "by_service")
    for service, *row in by_service.rows:
        figures = expected([one for one in wanted if one.service == service])
        assert row == [figures[name] for name in names]
    assert [row[0] for row in by_service.rows] == sorted(
        {one.service for one in wanted}, key=lambda name: (-sum(one.service == name for one in wanted), name)
    )
    assert by_service.totals == ("Total", *(expected(wanted)[name] for name in names))

    (chart,) = section.charts
    days = Counter((one.started.astimezone(BERLIN).date(), one.status) for one in wanted)
    by_title = {series.title: dict(zip(chart.labels, series.values, strict=True)) for series in chart.series}
    for day in chart.labels:
        assert by_title["Failed"][day] == days[day, "failed"]
        assert by_title["In progress"][day] == days[day, "pending"] + days[day, "running"]

    latest = table(section, "latest")
    order = sorted(wanted, key=lambda one: one.started, reverse=True)[:100]
    assert [(row[0], row[1], row[4], row[5]) for row in latest.rows] == [
        (one.started, one.service, one.status, one.finished) for one in order
    ]
    assert [row[6] for row in latest.rows] == [
        one.seconds if one.seconds is None else rounded(one.seconds) for one in order
    ]
    assert latest.note == f"The latest 100 of {len(wanted):,}."
    assert f"Deployments: {len(wanted)}, of which" in report.summary

    # The same in the file for people and in the workbook.
    pdf = render(report, "pdf")
    done = await asyncio.to_thread(
        subprocess.run, ["pdftotext", "-raw", "-", "-"], input=pdf, capture_output=True, check=True
    )
    text = done.stdout.decode().replace("\u00a0", " ")
    for service, *row in by_service.rows:
        assert f"{service} {' '.join(map(str, row[:5]))} {row[5]:.2f}" in text
    book = CalamineWorkbook.from_filelike(io.BytesIO(render(report, "excel")))
    cells = book.get_sheet_by_name("deployments By service").to_python()
    assert [row[:6] for row in cells[1 : 1 + len(by_service.rows)]] == [list(row[:6]) for row in by_service.rows]


async def test_too_many_that_fail_are_told_of(api: Api) -> None:
    at = NOON - timedelta(hours=5)
    many = [Recorded("web", status, at, at + timedelta(minutes=1)) for status in ["succeeded"] * 5 + ["rolled_back"]]
    bad = [Recorded("api", status, at, at + timedelta(minutes=1)) for status in ["succeeded"] * 3 + ["failed"] * 2]
    few = [Recorded("cron", "failed", at, at), Recorded("cron", "running", at, None)]
    await record(api, *many, *bad, *few)
    found = [one for one in (await made(api, "operations")).recommendations if one.rule == "failed_deployments"]
    # web: 1 of 6; api: 2 of 5; of cron too few are over.
    assert {(one.subject, one.level, one.value, one.threshold) for one in found} == {
        ("api", "urgent", Decimal(40), 30),
        ("web", "attention", Decimal("16.67"), 15),
        (None, "urgent", Decimal("33.33"), 30),
    }
    assert all(one.text.startswith("Deployment failure rate") for one in found)


async def test_what_nobody_recorded_is_null_and_a_quiet_time_is_none(api: Api) -> None:
    section = deployments_of(await made(api, "operations"))
    assert set(kpis(section).values()) == {None}
    assert not any(one.rows for one in section.tables)
    assert section.charts[0].labels == ()
    long_ago = NOON - timedelta(days=40)
    await record(api, Recorded("web", "succeeded", long_ago, long_ago))
    section = deployments_of(await made(api, "operations"))
    assert kpis(section) == {**expected([]), "success_rate": None}
    # Days of which none has begun yet.
    ahead = deployments_of(await made(api, "operations", first=LAST + timedelta(days=3), last=LAST + timedelta(days=9)))
    assert kpis(ahead)["deployments"] == 0
