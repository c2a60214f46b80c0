"""Direct ingestion through HTTP, raw rows kept and every rollup updated, against COPY alone of the same raw rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from bench.copying import Copying
from bench.cpu import Spent, spent
from bench.load import pack
from bench.service import Service
from bench.workload import bodies

CONNECTIONS = 96
"""As many requests are under way at once, as of a fleet of hosts: half are decoded and prepared while the other half is written, and
a group is the more events, the fewer of its rows of rollups are written again by the next."""


@dataclass(frozen=True)
class Ingestion:
    """Medians of the runs: events a second through HTTP and by COPY alone, their ratio in the same run, CPU microseconds an event."""

    events_a_second: float
    copy_a_second: float
    ratio: float
    service_us: float
    database_us: float


def ingestion(
    service: Service, kind: str, events: Callable[[int, int], Iterator[dict[str, Any]]], *, count: int, runs: int
) -> Ingestion:
    """Alternates the two, with new events in each run; a first, shorter one warms both up and is not counted."""
    rates, copies, costs = [], [], []
    first = 0
    for run in range(runs + 1):
        size = count if run else count // 4
        sent = bodies(events(first, size))
        first += size
        copied = Copying(kind, service.organization, sent).rate(service.database_url)
        seconds, cost = _send(service, sent)
        if run:
            rates.append(size / seconds)
            copies.append(copied)
            costs.append(Spent(cost.service / size * 1e6, cost.database / size * 1e6))
    _all_counted(service, kind, first)
    return Ingestion(
        median(rates),
        median(copies),
        median(rate / copied for rate, copied in zip(rates, copies, strict=True)),
        median(cost.service for cost in costs),
        median(cost.database for cost in costs),
    )


def _send(service: Service, sent: list[bytes]) -> tuple[float, Spent]:
    """The seconds that the load generator measured, and what they cost."""
    file = service.folder / "bodies"
    file.write_bytes(pack(sent))
    backends = _backends(service)
    before = spent(service.pid, backends)
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", service.host, str(service.port), service.key, str(CONNECTIONS), str(file)],
        cwd=Path(__file__).parent.parent,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout), spent(service.pid, backends) - before


def _backends(service: Service) -> list[int]:
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        rows = connection.execute("select pid from pg_stat_activity where pid <> pg_backend_pid()").fetchall()
    return [pid for (pid,) in rows]


def _all_counted(service: Service, kind: str, sent: int) -> None:
    """A figure for events that were lost, or counted twice, would be worth nothing."""
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        row = connection.execute(
            "select sum(events) from store.feed where kind = %s and organization = %s", (kind, service.organization)
        ).fetchone()
    if row is None or row[0] % sent:
        raise RuntimeError(f"{sent} {kind} events were sent and {row and row[0]} counted")
