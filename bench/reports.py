"""What reports cost: a two-page PDF in the pool and by WeasyPrint, what a request waits beside 16 of them, a large workbook."""

from __future__ import annotations

import asyncio
import datetime as dt
import html
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

import msgspec

from jobs.reports.figures import figure_text
from jobs.reports.pool import RenderPool
from jobs.reports.render import render
from jobs.reports.report import Chart, Kpi, Report, ReportColumn, ReportTable, Section, Series

LIMIT_MS, HELD_UP_MS, WORKBOOK_S, WORKBOOK_MB = 150.0, 20.0, 10.0, 300.0
_AT_ONCE = 16
_NOW = dt.datetime(2026, 3, 31, 12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class ReportCost:
    """Milliseconds of a two-page PDF in the pool and by WeasyPrint (None where it cannot run), and a loop's longest wait."""

    pdf_ms: float
    weasyprint_ms: float | None
    held_up_ms: float
    idle_ms: float
    workbook_s: float
    workbook_mb: float
    rows: int


def report_cost(*, runs: int, rows: int) -> ReportCost:
    """Measures everything, each side in the same run."""
    pdf_ms, held_up_ms, idle_ms = asyncio.run(_in_the_pool(runs))
    seconds, megabytes = _workbook(rows)
    return ReportCost(pdf_ms, _weasyprint(runs), held_up_ms, idle_ms, seconds, megabytes, rows)


def statement(number: int, days: int = 30, listed: int = 0) -> Report:
    """A P&L statement of two pages; each number gives other figures, so that nothing is found again."""
    rng = random.Random(number)
    dates = tuple(dt.date(2026, 3, 1) + dt.timedelta(days=n) for n in range(days))
    nets = tuple(Decimal(rng.randrange(-40_000, 52_000)).scaleb(-2) for _ in dates)
    equity = tuple(Decimal(10_000) + sum(nets[: n + 1], Decimal(0)) for n in range(days))
    columns = (
        ReportColumn("day", "Day", "date"),
        ReportColumn("trades", "Trades", "count"),
        ReportColumn("net", "Net", "money", "USD"),
        ReportColumn("equity", "Equity", "money", "USD"),
    )
    rows = [(day, rng.randrange(40), net, level) for day, net, level in zip(dates, nets, equity, strict=True)]
    tables = [ReportTable("by_day", "By day", columns, rows, ("Total", None, sum(nets, Decimal(0)), None))]
    if listed:
        tables.append(_trades(rng, listed))
    section = Section(
        "USD",
        "USD",
        (Kpi("net", "Net result", sum(nets, Decimal(0)), "money", "USD"), Kpi("trades", "Trades", 321, "count")),
        (
            Chart("equity", "Equity", "area", dates, (Series("Equity", equity),), "USD"),
            Chart("net", "Net result", "columns", dates, (Series("Net", nets),), "USD"),
        ),
        tuple(tables),
    )
    return Report(
        type="pnl",
        title=f"P&L statement {number}",
        organization="Bench",
        first=dates[0],
        last=dates[-1],
        tz="Europe/Berlin",
        as_of=_NOW,
        generated_at=_NOW,
        summary=f"Report {number}.",
        sections=(section,),
    )


def _trades(rng: random.Random, count: int) -> ReportTable:
    names = ("id", "user", "broker", "symbol")
    columns = (
        ReportColumn("closed", "Closed", "time"),
        *(ReportColumn(name, name.capitalize()) for name in names),
        *(ReportColumn(name, name.capitalize(), "number") for name in ("quantity", "price")),
        *(ReportColumn(name, name.capitalize(), "money", "USD") for name in ("fees", "net")),
    )
    rows = [
        (
            _NOW + dt.timedelta(seconds=n),
            f"T-{n:07}",
            f"user-{n % 500}",
            "broker",
            f"SYM{n % 50}",
            Decimal(rng.randrange(1, 10**6)).scaleb(-2),
            Decimal(rng.randrange(1, 10**7)).scaleb(-5),
            Decimal(rng.randrange(100)).scaleb(-2),
            Decimal(rng.randrange(-(10**6), 10**6)).scaleb(-2),
        )
        for n in range(count)
    ]
    return ReportTable("trades", "Every trade", columns, rows)


async def _in_the_pool(runs: int) -> tuple[float, float, float]:
    """Median of PDFs one after the other; the longest that the loop was held up while 16 were made, and while none was."""
    pool = RenderPool(max(1, (os.cpu_count() or 2) - 1))
    try:
        for number in range(4):
            await pool.render(statement(number), "pdf")
        found = []
        for number in range(100, 100 + runs):
            report = statement(number)
            started = time.perf_counter()
            await pool.render(report, "pdf")
            found.append(1e3 * (time.perf_counter() - started))
        reports = [statement(number, listed=300) for number in range(1_000, 1_000 + _AT_ONCE)]
        started = time.perf_counter()
        held_up = await _longest(asyncio.gather(*(pool.render(report, "pdf") for report in reports)))
        idle = await _longest(asyncio.sleep(time.perf_counter() - started))
    finally:
        await pool.close()
    return median(found), held_up, idle


async def _longest(work: object) -> float:
    """The longest that a tick of 2 ms was late while something ran, in ms: what a request of that moment waits."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    late = 0.0
    while not task.done():
        began = time.perf_counter()
        await asyncio.sleep(0.002)
        late = max(late, 1e3 * (time.perf_counter() - began) - 2)
    await task
    return late


def _weasyprint(runs: int) -> float | None:
    """The median of the same figures as HTML, by WeasyPrint, warm; with the charts that the PDF has, drawn before."""
    try:
        import weasyprint
    except (ImportError, OSError):
        return None
    import vl_convert

    from jobs.reports.charts import vega_lite

    def made(number: int) -> float:
        report = statement(number)
        started = time.perf_counter()
        drawn = [vl_convert.vegalite_to_svg(vega_lite(chart)) for chart in report.sections[0].charts]
        weasyprint.HTML(string=_page(report, drawn)).write_pdf()
        return 1e3 * (time.perf_counter() - started)

    for number in range(2):
        made(number)
    return median(made(number) for number in range(100, 100 + runs))


def _page(report: Report, drawn: list[str]) -> str:
    (table,) = report.sections[0].tables
    head = "".join(f"<th>{html.escape(column.title)}</th>" for column in table.columns)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(figure_text(column.kind, value))}</td>"
            for column, value in zip(table.columns, row, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    style = "@page{size:A4;margin:18mm;@bottom-right{content:counter(page)}}body{font:9pt Roboto,sans-serif}td{text-align:right}"
    return (
        f"<html><head><style>{style}</style></head><body><h1>{html.escape(report.title)}</h1>{''.join(drawn)}"
        f"<table><thead><tr>{head}</tr></thead>{body}</table></body></html>"
    )


def _workbook(rows: int) -> tuple[float, float]:
    """Seconds of a workbook with so many rows, and the MB that its process held at most beyond the report itself."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.reports", str(rows)], capture_output=True, text=True, check=True, timeout=600
    )
    seconds, megabytes = msgspec.json.decode(done.stdout, type=tuple[float, float])
    return seconds, megabytes


def _main() -> None:
    import resource

    report = statement(0, listed=int(sys.argv[1]))
    started = time.perf_counter()
    render(report, "excel")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)
    print(msgspec.json.encode((time.perf_counter() - started, peak)).decode())


if __name__ == "__main__":
    _main()
