"""Live streams: how long a commit takes to a thousand readers, and what ten thousand idle ones hold in memory."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import psutil
import psycopg

from bench.service import Service
from bench.stats import post

PATH = "/api/v1/stream?rollup=system_metrics&measures=last&group_by=host&filter=host:live&from=2026-01-01&to=2036-01-01"
_QUIET_S = 1.3
"""Between two commits: the change after a quiet second goes out at once."""


@dataclass(frozen=True)
class Pushed:
    """Milliseconds from the commit to the reader, over all commits and readers."""

    p50_ms: float
    p99_ms: float
    commits: int
    readers: int


@dataclass(frozen=True)
class Idle:
    """Megabytes of the service before and with so many idle readers, and the share of a core that it takes with them."""

    before_mb: float
    with_mb: float
    readers: int
    core: float


class _Client:
    """The process of the readers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def report(self) -> list[list[float]]:
        """When each answer since the opening came to the readers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: list[list[float]] = json.loads(self._process.stdout.readline())
        return found


@contextlib.contextmanager
def _readers(service: Service, count: int) -> Iterator[_Client]:
    arguments = [service.host, str(service.port), service.key, str(count), PATH]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.live_client", *arguments],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "open":
            raise RuntimeError("not every stream could be opened")
        yield _Client(process)
    finally:
        process.kill()
        process.wait()


def pushes(service: Service, *, readers: int, commits: int) -> Pushed:
    """Commits one event after each quiet second; the clock of the commit is the database's, on the same machine."""
    with _readers(service, readers) as client:
        for number in range(commits + 1):
            time.sleep(_QUIET_S)
            post(service, service.key, _event(number))
        time.sleep(_QUIET_S)
        told = client.report()
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        rows = connection.execute(
            "select extract(epoch from committed_at)::float8 from store.feed where organization = %s order by position",
            (service.organization,),
        ).fetchall()
    committed = [row[0] for row in rows[-(commits + 1) :]]
    if len(told) != len(committed) or any(len(times) != readers for times in told):
        raise RuntimeError(f"{len(committed)} commits were told {[len(times) for times in told]} times")
    # The first one warms up.
    took = [1e3 * (at - since) for since, times in zip(committed[1:], told[1:], strict=True) for at in times]
    return Pushed(median(took), quantiles(took, n=100)[98], commits, readers)


def idle(service: Service, *, readers: int, seconds: float) -> Idle:
    """Opens the streams and lets them be for a while, through several heartbeats."""
    process = psutil.Process(service.pid)
    before = process.memory_info().rss
    with _readers(service, readers):
        used, started = _cpu(process), time.perf_counter()
        time.sleep(seconds)
        core = (_cpu(process) - used) / (time.perf_counter() - started)
        return Idle(before / 1e6, process.memory_info().rss / 1e6, readers, core)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


_numbers = itertools.count(1)


def _event(value: int) -> bytes:
    number = next(_numbers)
    event = {
        "specversion": "1.0",
        "id": f"live-{number}",
        "source": "live",
        "type": "system",
        "time": dt.datetime.now(dt.UTC).isoformat(),
        "data": {"host": "live", "metrics": {"cpu_usage": float(value)}},
    }
    return json.dumps([event]).encode()
