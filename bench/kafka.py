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
from statistics import mean, quantiles
from typing import Any

import msgspec
import psutil
import psycopg
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.copying import Copying
from bench.load import pack
from bench.scaled import Moment, Scaled, steady_rate, watch
from bench.workload import BATCH, START, bodies, trade

CONNECTIONS = 24
PEERS = Path(__file__).parent / "peers"
PARTITIONS = 4


@dataclass(frozen=True)
class Drained:
    """What was seen of a drain of `count` events behind those counted `before`; COPY alone, rows a second, just before and after it.

    `worker_mb` is the memory of the largest worker.
    """

    moments: list[Moment]
    before: int
    count: int
    workers: int
    copied: float
    worker_mb: float

    @property
    def rate(self) -> float:
        """Events a second from Kafka into the database."""
        return steady_rate(self.moments, self.before, self.count, workers=self.workers)


def drain(
    service: Scaled,
    kind: str,
    events: Callable[[int, int], Iterator[dict[str, Any]]],
    *,
    count: int,
    first: int,
    workers: int = 1,
) -> Drained:
    """Fills the topic by HTTP while no worker runs, then starts some and watches them.

    `first` is the number of the first event: those before were counted already.
    """
    sent = bodies(events(first, count))
    copying = Copying(kind, service.organization, sent)
    publish(service, sent)
    del sent
    # What else the machine does changes from minute to minute: the two are held against each other as near in time as can be.
    copied = [copying.rate(service.database_url)]
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(service.worker()) for _ in range(workers)]
        moments = watch(service, kind, first + count)
        size = max(psutil.Process(pid).memory_info().rss / 1e6 for pid in pids)
    copied.append(copying.rate(service.database_url))
    return Drained(moments, first, count, workers, mean(copied), size)


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
        moments = watch(service, "trade", before + count)
    return count / (moments[-1].at - started)


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


class Peers:
    """Other stream processors over the same events on the same broker, each keyed by user, doing only a one-minute sum."""

    def __init__(self, service: Scaled, python: Path, *, count: int) -> None:
        self._service = service
        self._python = python
        self._count = count
        self._topic = "peers"
        self._groups = itertools.count(1)
        asyncio.run(_fill(service.broker, self._topic, trade(0, count)))

    def bytewax(self) -> float:
        """Events a second of one process, from the first to the last."""
        command = [str(self._python), str(PEERS / "bytewax_sum.py"), self._service.broker, self._topic]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return self._count / float(done.stdout.split()[-1])

    def quixstreams(self, *, processes: int) -> float:
        """Events a second of some processes of one group, told as a worker's are."""
        group = f"quixstreams-{next(self._groups)}"
        command = [str(self._python), str(PEERS / "quixstreams_sum.py"), self._service.broker, self._topic, group]
        running = [
            subprocess.Popen(
                [*command, str(self._service.folder / f"{group}-{number}")], stdout=subprocess.PIPE, text=True
            )
            for number in range(processes)
        ]
        told: list[tuple[float, int, int]] = []
        for number, process in enumerate(running):
            output, _ = process.communicate()
            if process.returncode:
                raise RuntimeError(f"quixstreams ended with {process.returncode}")
            told += [(at, number, seen) for at, seen in msgspec.json.decode(output, type=list[tuple[float, int]])]
        seen: dict[int, int] = {}
        moments = []
        for at, number, so_many in sorted(told):
            seen[number] = so_many
            moments.append(Moment(at, sum(seen.values()), len(seen)))
        return steady_rate(moments, 0, self._count, workers=processes)


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
