"""A whole installation in processes of its own: services, workers, broker and database, each of which a test may kill."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from storage.database import Database
from tests.chaos.sender import Sender
from tests.integration.api_service import make_organization
from tests.servers.child import Child
from tests.servers.ports import LOOPBACK, free_ports
from tests.servers.server import Server
from tests.service_process import ROOT, clean_environment, wait_until


class Service:
    """`streamgauge COMMAND` in a process that can be killed, frozen and started again."""

    def __init__(self, name: str, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self._command = [sys.executable, str(ROOT / "streamgauge.py"), *arguments]
        self._folder = folder
        self._log = folder / "log"
        self._environment = clean_environment(folder / "data") | environment
        self._child: Child | None = None
        self.unexpected_ends: list[int] = []

    def start(self) -> None:
        """Starts it; it may take its time to be ready."""
        self._folder.mkdir(exist_ok=True)
        self._child = Child(self._command, folder=self._folder, log=self._log, environment=self._environment)

    def keep(self) -> None:
        """Starts it again where it has ended by itself, as whoever runs a service does."""
        if self._child is not None and not self._child.is_running():
            self.unexpected_ends.append(self._child.end(signal.SIGKILL))
            self.start()

    @property
    def child(self) -> Child:
        """Its process."""
        assert self._child is not None, f"{self.name} was not started"
        return self._child

    @property
    def running(self) -> bool:
        """Whether it was started and not ended."""
        return self._child is not None

    def kill(self) -> None:
        """Ends it as a crash would."""
        self.child.end(signal.SIGKILL)
        self._child = None

    def stop(self, seconds: float = 30.0) -> int:
        """Ends it as its operator would; returns its exit code."""
        code = self.child.end(signal.SIGTERM, seconds)
        self._child = None
        return code

    def end(self) -> None:
        """Ends it, where it runs."""
        if self._child is not None:
            self.kill()

    def log(self) -> str:
        """All that it printed, in all its lives."""
        return self._log.read_text("utf-8", errors="replace") if self._log.exists() else ""


class Cluster:
    """Services over a database of their own; with a broker the log is Kafka, else it is the direct one."""

    def __init__(
        self, folder: Path, database: Server, database_url: str, broker: Server | None, **settings: str
    ) -> None:
        self.database = database
        self.database_url = database_url
        self.broker = broker
        self.services: dict[str, Service] = {}
        self.ended = threading.Event()
        self.prefix = database_url.rpartition("/")[2]
        """Of the topics' names: the database's, so that no two tests have the same."""
        (self.port,) = free_ports(1)
        self._folder = folder
        self._settings = {
            "DATABASE_URL": database_url,
            "JWT_SECRET": "0123456789abcdef0123456789abcdef",
            "STREAMGAUGE_COLLECT_HOST": "false",
            "STREAMGAUGE_LOG_FORMAT": "json",
            **settings,
        }
        if broker is not None:
            self._settings |= {
                "KAFKA_BOOTSTRAP_SERVERS": broker.address,
                "STREAMGAUGE_TOPIC_PREFIX": self.prefix,
                "STREAMGAUGE_PARTITIONS": "4",
                "STREAMGAUGE_SESSION_SECONDS": "3",
                **settings,
            }
        self.organizations, self.keys = asyncio.run(_organizations(database_url))

    def start(self, name: str, *arguments: str, **settings: str) -> Service:
        """Starts a new service of this name."""
        service = Service(name, arguments, self._folder / name, self._settings | settings)
        self.services[name] = service
        service.start()
        return service

    def command(self, *arguments: str, seconds: float = 60.0) -> str:
        """What a command of ours prints that must succeed."""
        environment = clean_environment(self._folder / "command") | self._settings
        done = subprocess.run(
            [sys.executable, str(ROOT / "streamgauge.py"), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_all(self) -> None:
        """Starts what an installation has: everything in one process, or with a broker an API and two workers; waits for them."""
        if self.broker is None:
            self.start("run", "run", STREAMGAUGE_PORT=str(self.port))
        else:
            self.start("api", "api", STREAMGAUGE_PORT=str(self.port))
            for name in ("worker-1", "worker-2"):
                self.start(name, "worker")
        self.wait_until_it_answers()
        self.wait_until_owned()
        for service in self.services.values():
            assert service.child.is_running(), f"{service.name} ended: {service.log()[-2_000:]}"

    def wait_until_owned(self) -> None:
        """Returns once every worker that runs has partitions of its own."""
        workers = [service for name, service in self.services.items() if name.startswith("worker") and service.running]

        def owned() -> bool:
            with psycopg.connect(self.database_url) as connection:
                owners = {row[0] for row in connection.execute("select owner from store.log_partition").fetchall()}
            # Every worker has some, and nobody who is gone has any.
            running = {worker.child.process.pid for worker in workers}
            return None not in owners and running == {int(owner.split("/")[-2]) for owner in owners}

        if workers:
            wait_until(owned, "the workers to have partitions", 60)

    def wait_until_it_answers(self, seconds: float = 60.0) -> None:
        """Returns once the API takes requests."""
        wait_until(lambda: self.get("/health")[0] == 200, "the API to be well", seconds)

    def get(self, path: str, organization: int = 0) -> tuple[int, Any]:
        """Status and JSON of an answer; status 0 where there was none."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.keys[organization]}"})
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            return 0, repr(error)
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def sender(self, organization: int) -> Sender:
        """A sender of one of the two organizations' events."""
        return Sender(self.port, self.keys[organization], self.ended)

    def keep(self) -> None:
        """Starts again what ended by itself."""
        for service in self.services.values():
            service.keep()

    def logs(self, last: int | None = 4_000) -> str:
        """The ends of what the services printed; all of it with None."""
        kept = slice(None if last is None else -last, None)
        return "\n".join(f"--- {name}\n{service.log()[kept]}" for name, service in self.services.items())

    def close(self) -> None:
        """Ends every service."""
        self.ended.set()
        for service in self.services.values():
            service.end()


@contextmanager
def cluster(database: Server, database_url: str, broker: Server | None, **settings: str) -> Iterator[Cluster]:
    """An installation without services yet; they are ended with the block, and the ends of their logs printed."""
    folder = Path(tempfile.mkdtemp(prefix="sg-chaos-"))
    made = Cluster(folder, database, database_url, broker, **settings)
    try:
        yield made
    finally:
        made.close()
        print(made.logs())
        shutil.rmtree(folder, ignore_errors=True)


async def _organizations(url: str) -> tuple[list[UUID], list[str]]:
    """Two organizations and an API key of each."""
    database = Database(url)
    await database.open()
    try:
        made = [await make_organization(database, name) for name in ("Acme", "Bolt")]
    finally:
        await database.close()
    return [owner for owner, _ in made], [headers["Authorization"].removeprefix("Bearer ") for _, headers in made]
