"""Kafka to database: a worker that finds its topics full, against COPY alone of the same raw rows and against other stream processors."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import msgspec
import psutil
import psycopg
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.copying import copy_alone
from bench.load import pack
from bench.scaled import Scaled, wait_for_count
from bench.workload import BATCH, START, bodies, trade

CONNECTIONS = 24
PEERS = Path(__file__).parent / "peers"
PARTITIONS = 4


@dataclass(frozen=True)
class Draining:
    """Medians of the runs: events a second from Kafka into the database, COPY alone, their ratio; megabytes of a worker at most."""

    events_a_second: float
    copy_a_second: float
    ratio: float
    worker_mb: tuple[float, float]


def drain(
    service: Scaled,
    kind: str,
    events: Callable[[int, int], Iterator[dict[str, Any]]],
    *,
    count: int,
    runs: int,
    workers: int = 1,
    first: int = 0,
) -> Draining:
    """Fills the topic by HTTP while no worker runs, then starts some and watches them. The first run warms up and is not counted.

    `first` is the number of the first event: those before were counted already.
    """
    rates, copies, sizes = [], [], []
    for run in range(runs + 1):
        size = count if run else count // 4
        sent = bodies(events(first, size))
        copied = copy_alone(service.database_url, kind, service.organization, sent)
        publish(service, sent)
        with contextlib.ExitStack() as stack:
            pids = [stack.enter_context(service.worker()) for _ in range(workers)]
            moments = wait_for_count(service, kind, first + size)
            sizes.append(max(psutil.Process(pid).memory_info().rss / 1e6 for pid in pids))
        first += size
        # From the first commit on, so that neither the start of the process nor the joining of the group is in it.
        (began, before), (ended, after) = moments[1] if moments[0][1] < first - size + 1 else moments[0], moments[-1]
        if run:
            rates.append((after - before) / (ended - began))
            copies.append(copied)
    ratios = [rate / copied for rate, copied in zip(rates, copies, strict=True)]
    return Draining(median(rates), median(copies), median(ratios), (sizes[1], sizes[-1]))


def publish(service: Scaled, sent: list[bytes], *, seconds: float = 0.0) -> float:
    """Sends bodies by HTTP; the answer of each says that Kafka has it. Returns the seconds it took."""
    file = service.folder / "bodies"
    file.write_bytes(pack(sent))
    arguments = [service.host, str(service.port), service.key, str(CONNECTIONS), str(file), str(seconds)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", *arguments],
        cwd=Path(__file__).parent.parent,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def throughput(service: Scaled, *, count: int) -> float:
    """Trades a second from a sender's first request until the last can be read, all processes at work on one machine."""
    sent = bodies(trade(40_000_000, count))
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        before = service.counted("trade", connection)
    with service.worker():
        probe(service, next(_numbers))
        started = time.perf_counter()
        publish(service, sent)
        moments = wait_for_count(service, "trade", before + count)
    return count / (moments[-1][0] - started)


@dataclass(frozen=True)
class Freshness:
    """Milliseconds from an event's acceptance to its figure in the rollup, while `rate` other events a second come in."""

    rate: float
    p50_ms: float
    p99_ms: float


def freshness(service: Scaled, *, rate: float, seconds: float) -> Freshness:
    """Sends probes by HTTP, ten a second, and reads the rollup until each is there; other events come in at `rate` meanwhile."""
    load = bodies(trade(50_000_000, int(rate * seconds)))
    with service.worker():
        probe(service, next(_numbers))
        file = service.folder / "paced"
        file.write_bytes(pack(load))
        arguments = [service.host, str(service.port), service.key, "8", str(file), str(seconds)]
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.load", *arguments],
            cwd=Path(__file__).parent.parent,
            stdout=subprocess.DEVNULL,
        )
        took = []
        while process.poll() is None:
            took.append(probe(service, next(_numbers)) * 1e3)
            time.sleep(0.1)
    cuts = quantiles(took, n=100)
    return Freshness(len(load) * BATCH / seconds, cuts[49], cuts[98])


_numbers = itertools.count(1)


def probe(service: Scaled, number: int) -> float:
    """Sends one event and waits until its rollup row can be read; the seconds from the answer to that."""
    host = f"probe-{number}"
    event = {
        "specversion": "1.0",
        "id": host,
        "source": "probe",
        "type": "system",
        "time": START,
        "data": {"host": host, "metrics": {"cpu_usage": 1.0}},
    }
    publish_one(service, msgspec.json.encode([event]))
    accepted = time.perf_counter()
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        while (
            connection.execute(
                "select from store.rollup_system_metrics_1m where organization = %s and host = %s limit 1",
                (service.organization, host),
            ).fetchone()
            is None
        ):
            time.sleep(0.005)
    return time.perf_counter() - accepted


def publish_one(service: Scaled, body: bytes) -> None:
    """Sends one body; raises where it is not accepted."""
    headers = {"X-API-Key": service.key, "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{service.host}:{service.port}/api/v1/events", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        if answer.status != 202:
            raise RuntimeError(answer.read()[:300])


def run_peers(service: Scaled, python: Path, *, count: int) -> dict[str, float]:
    """Events a second of the peers over the same events on the same broker, each keyed by user, doing only a one-minute sum."""
    topic = "peers"
    asyncio.run(_fill(service.broker, topic, trade(0, count)))
    found = {}
    for name, arguments in (
        ("bytewax", [service.broker, topic]),
        ("quixstreams", [service.broker, topic, str(count), str(service.folder / "quixstreams")]),
    ):
        done = subprocess.run(
            [str(python), str(PEERS / f"{name}_sum.py"), *arguments], check=True, capture_output=True, text=True
        )
        found[name] = count / float(done.stdout.split()[-1])
    return found


async def _fill(broker: str, topic: str, events: Iterator[dict[str, Any]]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    finally:
        await admin.close()
    encoder = msgspec.json.Encoder()
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=20, max_batch_size=262_144)
    await producer.start()
    try:
        for event in events:
            await producer.send(topic, encoder.encode(event), key=event["data"]["user_id"].encode())
        await producer.flush()
    finally:
        await producer.stop()
