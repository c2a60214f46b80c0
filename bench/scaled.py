"""The service at scale for the benchmarks: Apache Kafka, PostgreSQL, an API process and workers, each a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from bench.service import await_answer, free_port
from storage.embedded import EmbeddedPostgres
from storage.embedded_server import DEFAULTS
from tests.servers.kafka import given_address, own_broker
from tests.servers.timescale import own_timescale

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Scaled:
    """A running API process over a broker and a database, and what starts workers beside it."""

    host: str
    port: int
    key: str
    organization: UUID
    database_url: str
    broker: str
    folder: Path
    environment: dict[str, str]

    @contextlib.contextmanager
    def worker(self) -> Iterator[int]:
        """A worker while the block runs; yields its process id."""
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(_ROOT / "streamgauge.py"), "worker"],
                cwd=_ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        try:
            yield process.pid
        finally:
            _end(process)

    def counted(self, kind: str, connection: psycopg.Connection[Any]) -> int:
        """How many events of a kind are counted."""
        row = connection.execute(
            "select coalesce(sum(events), 0) from store.feed where kind = %s and organization = %s",
            (kind, self.organization),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def owners(self, kind: str, connection: psycopg.Connection[Any]) -> int:
        """How many workers have partitions of a kind."""
        row = connection.execute(
            "select count(distinct owner) from store.log_partition where kind = %s", (kind,)
        ).fetchone()
        assert row is not None
        return int(row[0])


@contextlib.contextmanager
def scaled(*, timescale: bool = False) -> Iterator[Scaled]:
    """Starts broker, database and API, as a user would with two addresses, and stops them at the end.

    With `timescale` the database is TimescaleDB, with the settings of the embedded one: a commit is on disk there, too.
    """
    folder = Path(tempfile.mkdtemp(prefix="streamgauge-bench-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        broker = given_address() or stack.enter_context(own_broker()).address
        if timescale:
            database_url = stack.enter_context(own_timescale(**DEFAULTS)).address
        else:
            database_url = stack.enter_context(EmbeddedPostgres(folder / "database")).start()
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")} | {
            "DATABASE_URL": database_url,
            "KAFKA_BOOTSTRAP_SERVERS": broker,
            "STREAMGAUGE_TOPIC_PREFIX": f"bench-{os.getpid()}",
            "STREAMGAUGE_DATA": str(folder / "data"),
            "STREAMGAUGE_PORT": str(port),
            "STREAMGAUGE_COLLECT_HOST": "false",
            "STREAMGAUGE_LOG_LEVEL": "warning",
        }
        with (folder / "api.log").open("wb") as log:
            api = subprocess.Popen(
                [sys.executable, str(_ROOT / "streamgauge.py"), "api"],
                cwd=_ROOT,
                env=environment,
                stdout=log,
                stderr=log,
            )
        stack.callback(_end, api)
        await_answer("127.0.0.1", port, api, folder / "api.log")
        credentials = json.loads((folder / "data" / "credentials.json").read_text())
        yield Scaled(
            "127.0.0.1",
            port,
            credentials["api_key"],
            UUID(credentials["organization_id"]),
            environment["DATABASE_URL"],
            broker,
            folder,
            environment,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Moment(NamedTuple):
    """When, in seconds, how many events were counted, and how many workers had a part in it by then."""

    at: float
    counted: int
    workers: int


def watch(service: Scaled, kind: str, count: int, *, seconds: float = 300.0) -> list[Moment]:
    """Watches how many events are counted until all are; the moments at which the number rose."""
    moments: list[Moment] = []
    deadline = time.monotonic() + seconds
    # One connection: to open one for each look would take a third of a processor from what is measured.
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        while not moments or moments[-1].counted < count:
            found = service.counted(kind, connection)
            if not moments or found > moments[-1].counted:
                moments.append(Moment(time.perf_counter(), found, service.owners(kind, connection)))
            elif time.monotonic() > deadline:
                raise RuntimeError(f"{found} of {count} events were counted in {seconds:.0f} s")
            time.sleep(0.02)
    return moments


def steady_rate(moments: Sequence[Moment], before: int, count: int, *, workers: int) -> float:
    """Events a second, of `count` that come after those counted `before`: from a quarter of them, with all at work, to nine tenths.

    Neither the start of a process and the joining of its group are in it, nor the last group, beside which no other is prepared.
    """
    began = next((one for one in moments if one.counted >= before + count // 4 and one.workers == workers), None)
    ended = [one for one in moments if one.counted <= before + count * 9 // 10]
    if began is None or not ended or ended[-1].counted <= began.counted:
        raise RuntimeError(f"too few groups to tell a rate, or not all of {workers} were at work in time: {moments}")
    return (ended[-1].counted - began.counted) / (ended[-1].at - began.at)
