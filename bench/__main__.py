"""`python -m bench [--quick] [--only NAME …]`: runs the benchmarks and prints a table; see bench/README.md."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.cached import cached
from bench.ingestion import CONNECTIONS, ingestion
from bench.kafka import Drained, Peers, drain, freshness, throughput
from bench.large import LIMIT_MS as UNCACHED_MS
from bench.large import WITHOUT_CACHE, large_tables
from bench.leaderboard import LIMIT_S, board_cost
from bench.live import idle, pushes
from bench.reports import HELD_UP_MS, WORKBOOK_MB, WORKBOOK_S, report_cost
from bench.reports import LIMIT_MS as PDF_MS
from bench.scaled import Scaled, scaled
from bench.service import Service, running
from bench.stats import TIMES, stats_cost
from bench.workload import BATCH, system, trade
from bench.year import LIMIT_MS, year_query

Row = tuple[str, str, str, str]
"""What was measured, the figure, the ratio, what the ratio should be."""

_LEAST, _AIM = 0.25, 0.40
_SLOW = ("trade-uniform", "leaderboard", "large")
"""Left out where it must be quick, unless named."""
REPORTS = "reports"
_INGESTED: dict[str, tuple[str, Callable[[int, int], Iterator[dict[str, Any]]]]] = {
    "system": ("system", system),
    "trade": ("trade", trade),
    "trade-uniform": ("trade", partial(trade, uniform=True)),
    "system-two": ("system", system),
    "trade-two": ("trade", trade),
}
_TWO = {"STREAMGAUGE_WORKERS": "2"}
_SETTINGS: dict[str, Mapping[str, str]] = {"large": WITHOUT_CACHE, "system-two": _TWO, "trade-two": _TWO}
"""The environment of services that are not started with nothing set; `two` is for API processes."""


def _ingestion_row(service: Service, name: str, *, quick: bool) -> Row:
    kind, events = _INGESTED[name]
    found = ingestion(service, kind, events, count=60_000 if quick else 400_000, runs=3)
    figures = (
        f"{found.events_a_second:,.0f} events/s; COPY alone {found.copy_a_second:,.0f} rows/s;"
        f" CPU an event: service {found.service_us:.0f} µs, database {found.database_us:.0f} µs"
    )
    return f"ingestion, {name}", figures, f"{found.ratio:.0%}", f"at least {_LEAST:.0%}, aim {_AIM:.0%}"


def _year_row(service: Service, *, quick: bool) -> Row:
    size = 1 if quick else 2
    found = year_query(service, hosts=size, metrics=size, requests=60)
    figures = f"median {found.median_ms:.1f} ms, p95 {found.p95_ms:.1f} ms over {found.minutes:,} minutes"
    return "query, a year by day", figures, f"{found.median_ms / LIMIT_MS:.2f}", f"below 1 (of {LIMIT_MS:.0f} ms)"


def _stats_row(service: Service, *, quick: bool) -> Row:
    found = stats_cost(service, few=300 if quick else 1_000, requests=100)
    figures = (
        f"median {found.few_ms:.1f} ms with {found.few:,} events, {found.many_ms:.1f} ms with {found.few * TIMES:,}"
    )
    return f"dashboard/stats, {TIMES} × events", figures, f"{found.many_ms / found.few_ms:.2f}", "about 1"


def _leaderboard_row(service: Service, *, quick: bool) -> Row:
    creators, reactions = (1_000, 100_000) if quick else (10_000, 1_000_000)
    found = board_cost(service, creators=creators, reactions=reactions, views=5 if quick else 20)
    figures = (
        f"a view is on the boards after {found.median_s:.1f} s, at most {found.most_s:.1f} s; a refresh takes {found.refresh_s:.1f} s,"
        f" {creators:,} creators, {reactions:,} reactions, {found.rollup_rows:,} daily rows"
    )
    return "leaderboard", figures, f"{found.most_s / LIMIT_S:.2f}", f"below 1 (of {LIMIT_S:.0f} s)"


def _push_row(service: Service, *, quick: bool) -> Row:
    found = pushes(service, readers=1_000, commits=5 if quick else 20)
    figures = f"median {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms to {found.readers:,} readers of one question"
    return "commit to reader", figures, f"{found.p50_ms / 50:.2f}", "below 1 (median of 50 ms)"


def _idle_row(service: Service, *, quick: bool) -> Row:
    found = idle(service, readers=2_000 if quick else 10_000, seconds=20)
    each = 1e3 * (found.with_mb - found.before_mb) / found.readers
    figures = (
        f"{found.with_mb:.0f} MB with {found.readers:,} streams, {found.before_mb:.0f} MB before ({each:.1f} KB each);"
        f" {found.core:.1%} of a core"
    )
    return "idle streams", figures, f"{found.with_mb / 400:.2f}", "below 1 (of 400 MB)"


def _cached_row(service: Service, *, quick: bool) -> Row:
    found = cached(service, runs=3 if quick else 5, seconds=1.0 if quick else 2.0)
    figures = (
        f"{found.rate:,.0f} requests/s, median {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms; a bare handler"
        f" {found.bare_rate:,.0f} requests/s"
    )
    return "dashboard/stats, polled", figures, f"{found.ratio:.0%}", "at least 60%, 10,000/s, p99 below 50 ms"


def _report_rows(*, quick: bool) -> list[Row]:
    """Reports need no service: a PDF against its limit and WeasyPrint, what requests wait beside 16, a large workbook."""
    found = report_cost(runs=5 if quick else 15, rows=20_000 if quick else 100_000)
    pdf, peer = found.pdf_ms, found.weasyprint_ms
    against = "WeasyPrint cannot run here" if peer is None else f"WeasyPrint {peer:.0f} ms"
    held = f"a request waited {found.held_up_ms:.0f} ms more at most, {found.idle_ms:.0f} ms while none was made"
    size = f"{found.rows:,} rows × 9 columns: {found.workbook_s:.1f} s, the process held {found.workbook_mb:.0f} MB at most"
    return [
        (
            "report, two pages of PDF",
            f"median {pdf:.0f} ms in the pool",
            f"{pdf / PDF_MS:.2f}",
            f"below 1 (of {PDF_MS:.0f} ms)",
        ),
        ("report / WeasyPrint", against, "–" if peer is None else f"{peer / pdf:.1f}", "at least 3"),
        ("16 reports at once", held, f"{found.held_up_ms / HELD_UP_MS:.2f}", f"below 1 (of {HELD_UP_MS:.0f} ms)"),
        (
            "report, workbook",
            size,
            f"{found.workbook_s * 100_000 / found.rows / WORKBOOK_S:.2f}, {found.workbook_mb / WORKBOOK_MB:.2f}",
            f"below 1 (of {WORKBOOK_S:.0f} s for 100,000 rows, {WORKBOOK_MB:.0f} MB)",
        ),
    ]


def _large_rows(service: Service, *, quick: bool) -> list[Row]:
    found = large_tables(service, share=0.05 if quick else 1.0, requests=60)
    size = f"beside {found.rows:,} rows of rollups, {found.gigabytes:.1f} GB"
    return [
        ("uncached reads", size, "", f"below 1 (p95 of {UNCACHED_MS:.0f} ms)"),
        *(
            (
                f"  {asked.name}",
                f"median {asked.median_ms:.1f} ms, p95 {asked.p95_ms:.1f} ms",
                f"{asked.p95_ms / UNCACHED_MS:.2f}",
                "",
            )
            for asked in found.asked
        ),
    ]


_DRAINED: dict[str, tuple[str, Callable[[int, int], Iterator[dict[str, Any]]], int]] = {
    "system": ("system", system, 1),
    "trade": ("trade", trade, 1),
    "trade, two workers": ("trade", trade, 2),
}
"""Kind, events and workers of each row of Kafka to database; with one worker alone where it must be quick."""

_DRAINED_EVENTS = 400_000
"""For each worker: eight groups, for neither the first nor the last of them tells a rate."""


def _kafka_rows(*, peers: Path | None, quick: bool) -> list[Row]:
    """Kafka to database: throughput against COPY and the peers, freshness at half of it, a worker's memory."""
    with scaled() as service:
        others = Peers(service, peers, count=_DRAINED_EVENTS) if peers is not None else None
        rows = _drained_rows(service, "database", others, quick=quick)
        most = throughput(service, count=_DRAINED_EVENTS)
        fresh = freshness(service, rate=most / 2, seconds=10)
        figures = (
            f"median {fresh.p50_ms:.0f} ms, p99 {fresh.p99_ms:.0f} ms at {fresh.rate:,.0f} trades/s, half of the"
            f" {most:,.0f} that HTTP, Kafka and a worker pass together on this machine"
        )
        rows.append(("accepted to readable", figures, f"{fresh.p99_ms / 1000:.2f}", "p99 below 1 (of 1 s)"))
    with scaled(timescale=True) as service:
        rows += _drained_rows(service, "TimescaleDB", None, quick=quick)
    return rows


def _drained_rows(service: Scaled, database: str, peers: Peers | None, *, quick: bool) -> list[Row]:
    """Rounds in which each row, and each peer right behind what it is held against, has its turn; the first one warms up."""
    drains: dict[str, list[Drained]] = {name: [] for name, row in _DRAINED.items() if row[2] == 1 or not quick}
    found: dict[str, list[float]] = {"quixstreams": [], "bytewax": [], "quixstreams, two processes": []}
    before = {"system": 0, "trade": 0}
    for run in range(2 if quick else 4):
        for name in drains:
            kind, events, workers = _DRAINED[name]
            count = _DRAINED_EVENTS * workers if run else _DRAINED_EVENTS // 4
            drained = drain(service, kind, events, count=count, first=before[kind], workers=workers)
            before[kind] += count
            if not run:
                continue
            drains[name].append(drained)
            if peers is not None and name == "trade":
                found["quixstreams"].append(peers.quixstreams(processes=1))
                found["bytewax"].append(peers.bytewax())
            elif peers is not None and name == "trade, two workers":
                found["quixstreams, two processes"].append(peers.quixstreams(processes=2))
    rows = [_drained(f"Kafka to {database}, {name}", some) for name, some in drains.items()]
    if peers is None:
        return rows
    for name, ours, wanted in (
        ("quixstreams", "trade", "at least 3"),
        ("bytewax", "trade", "aim above 1"),
        ("quixstreams", "trade, two workers", "at least 3"),
        ("quixstreams, two processes", "trade, two workers", ""),
    ):
        if ours not in drains:
            continue
        rates = [drained.rate for drained in drains[ours]]
        ratio = median(rate / other for rate, other in zip(rates, found[name], strict=True))
        figures = f"{name} with a one-minute sum alone: {median(found[name]):,.0f} events/s"
        rows.append((f"Kafka to {database}, {ours} / {name}", figures, f"{ratio:.1f}", wanted))
    return rows


def _drained(name: str, runs: list[Drained]) -> Row:
    rate, copied = median(run.rate for run in runs), median(run.copied for run in runs)
    figures = (
        f"{rate:,.0f} events/s; COPY alone {copied:,.0f} rows/s;"
        f" a worker held {runs[0].worker_mb:.0f} MB after the first run, {runs[-1].worker_mb:.0f} MB after the last"
    )
    return name, figures, f"{median(run.rate / run.copied for run in runs):.0%}", "at least 35%, aim 60%"


def main() -> None:
    """Runs what was asked for, one service after the other, so that no benchmark finds what another left."""
    benchmarks: dict[str, Callable[..., Row | list[Row]]] = {
        "stats": _stats_row,
        **{name: partial(_ingestion_row, name=name) for name in _INGESTED},
        "year": _year_row,
        "leaderboard": _leaderboard_row,
        "large": _large_rows,
        "live": _push_row,
        "idle": _idle_row,
        "cached": _cached_row,
    }
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures throughput and latency; prints ratios."
    )
    parser.add_argument("--quick", action="store_true", help="smaller, and less exact: under a minute")
    parser.add_argument(
        "--only", nargs="*", choices=[*benchmarks, REPORTS], metavar="NAME", help=", ".join([*benchmarks, REPORTS])
    )
    parser.add_argument("--full", action="store_true", help="Kafka to database, too; it takes some minutes")
    parser.add_argument("--peers", type=Path, help="with --full: a Python that has bench/peers/requirements.lock")
    asked = parser.parse_args()
    chosen = (
        asked.only
        if asked.only is not None
        else [name for name in [*benchmarks, REPORTS] if not (asked.quick and name in _SLOW)]
    )
    table = Table("benchmark", "measured", "ratio", "wanted")
    started, load = time.perf_counter(), os.getloadavg()[0]
    console = Console()
    try:
        for name in chosen:
            if name == REPORTS:
                with console.status("reports …"):
                    for row in _report_rows(quick=asked.quick):
                        table.add_row(*row)
                continue
            with console.status(f"{name} …"), running(_SETTINGS.get(name)) as service:
                found = benchmarks[name](service, quick=asked.quick)
                for row in found if isinstance(found, list) else [found]:
                    table.add_row(*row)
        if asked.full:
            with console.status("Kafka …"):
                for row in _kafka_rows(peers=asked.peers, quick=asked.quick):
                    table.add_row(*row)
    finally:
        console.print(table)
    console.print(
        f"{os.cpu_count()} processors, load {load:.1f} before; {CONNECTIONS} connections, {BATCH:,} events a request;"
        f" medians of 3 runs; {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
