"""Polling `/api/v1/dashboard/stats` with a key, against an aiohttp handler that returns the same bytes and does nothing else."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.service import Service, await_answer, free_port
from bench.stats import fill

PATH = "/api/v1/dashboard/stats"
CONNECTIONS = 32
_ROOT = Path(__file__).parent.parent
_MOVING = {"date", "content-length"}
"""Headers that aiohttp writes by itself."""


@dataclass(frozen=True)
class Polled:
    """Requests a second of both, the median of ratios of one right after the other, and the service's latencies."""

    rate: float
    bare_rate: float
    ratio: float
    p50_ms: float
    p99_ms: float


def cached(service: Service, *, runs: int, seconds: float) -> Polled:
    """Both are asked in turn, each by the same clients in a process of their own."""
    fill(service, service.key, 1_000, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5))
    rates, bare_rates, latencies = [], [], []
    with _bare(service) as port:
        for _ in range(runs):
            found = _poll(service.host, service.port, service.key, seconds)
            bare = _poll(service.host, port, service.key, seconds)
            rates.append(found["rate"])
            bare_rates.append(bare["rate"])
            latencies.append((found["p50_ms"], found["p99_ms"]))
    ratios = [rate / bare for rate, bare in zip(rates, bare_rates, strict=True)]
    return Polled(
        median(rates),
        median(bare_rates),
        median(ratios),
        median(p50 for p50, _ in latencies),
        median(p99 for _, p99 in latencies),
    )


@contextlib.contextmanager
def _bare(service: Service) -> Iterator[int]:
    """Serves what the service answers, with the same headers, and yields the port."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    connection.request("GET", PATH, headers={"X-API-Key": service.key})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    headers = {name: value for name, value in answer.getheaders() if name.lower() not in _MOVING}
    file, log = service.folder / "answer.json", service.folder / "bare.log"
    file.write_text(json.dumps({"headers": headers, "body": body}))
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.bare", str(port), str(file)], cwd=_ROOT, stdout=output, stderr=output
        )
    try:
        await_answer(service.host, port, process, log)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _poll(host: str, port: int, key: str, seconds: float) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.polling", host, str(port), PATH, key, str(CONNECTIONS), str(seconds)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2_000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found
