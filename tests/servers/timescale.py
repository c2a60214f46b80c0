"""TimescaleDB for tests: the URL that the environment names, a container, or a server out of Debian's packages."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import psycopg

from storage.embedded_place import ServerAccount, prepare_place, run_as
from tests.servers.child import Child
from tests.servers.container import Container, engine
from tests.servers.missing import ServerMissingError
from tests.servers.ports import LOOPBACK, free_ports
from tests.servers.server import Server, wait_for
from tests.servers.timescale_packages import install_timescale

VARIABLE = "STREAMGAUGE_TEST_TIMESCALE"
START_SECONDS = 60.0
IMAGE = "timescale/timescaledb:latest-pg17"

# A crash of the server must be survived, one of the machine need not. TimescaleDB's scheduler has no jobs to run in the Apache
# edition, and holds a connection to every database.
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    "timescaledb.max_background_workers": "0",
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "max_connections": "200",
    "max_locks_per_transaction": "256",
    "lc_messages": "C",
}


def given_url() -> str | None:
    """The server that the environment names; None where it names none. Raises ServerMissingError where that does not answer."""
    url = os.environ.get(VARIABLE)
    if url and not wait_for(lambda: _answers(url), 10):
        raise ServerMissingError(f"no server answers at the URL that {VARIABLE} names")
    return url or None


def prepare() -> None:
    """Fetches what `own_timescale` needs. Raises ServerMissingError."""
    if engine() is None:
        install_timescale()


@contextmanager
def own_timescale(**settings: str) -> Iterator[Server]:
    """A server of the caller's own, which it may stop and kill; gone with its data at the end. Raises ServerMissingError.

    `settings` are PostgreSQL's, over those that tests have.
    """
    docker = engine()
    server: Server = _container(docker, settings) if docker else TimescaleProcess(install_timescale(), settings)
    try:
        server.start()
        yield server
    finally:
        server.close()


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


class TimescaleProcess:
    """A server with its data in a folder for temporary files; started by root it runs as `postgres` or `nobody`."""

    def __init__(self, programs: Path, settings: dict[str, str]) -> None:
        self._programs = programs
        self._settings = _SETTINGS | settings
        self._folder = Path(tempfile.mkdtemp(prefix="sg-timescale-", dir="/tmp"))
        self._folder.chmod(0o755)
        self._account: ServerAccount = prepare_place(self._folder / "cluster")
        self._data = self._folder / "cluster" / "data"
        self._password = secrets.token_hex(16)
        self._child: Child | None = None
        self.address = ""

    def start(self) -> None:
        """See Server."""
        if not self._data.exists():
            self._make_cluster()
        for _ in range(1 if self.address else 3):
            port = free_ports(1)[0]
            address = self.address or f"postgresql://postgres:{self._password}@{LOOPBACK}:{port}/postgres"
            settings = self._settings | {"port": address.rpartition(":")[2].partition("/")[0]}
            child = Child(
                [
                    str(self._programs / "postgres"),
                    *("-D", str(self._data)),
                    *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
                ],
                folder=self._folder,
                log=self._folder / "log",
                environment=_without_settings(),
                orphaned=signal.SIGQUIT,
                uid=self._account.uid if self._account.switch else None,
                gid=self._account.gid if self._account.switch else None,
            )
            if wait_for(partial(_answers, address), START_SECONDS, child.is_running):
                self._child, self.address = child, address
                return
            child.end(signal.SIGQUIT)
        raise ServerMissingError(f"TimescaleDB did not start: {child.last_words}")

    def _make_cluster(self) -> None:
        password = self._folder / "cluster" / "password"
        password.write_text(self._password, "utf-8")
        options = ("-U", "postgres", "-A", "password", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        program = self._programs / "initdb"
        done = run_as(self._account, [program, "-D", self._data, *options, f"--pwfile={password}"])
        if done.returncode:
            raise ServerMissingError(f"initdb failed: {done.stdout[-1_000:]}")

    def stop(self) -> None:
        """See Server. Clients that are connected are thrown out."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kills the server with every process that works for a connection, so that none of them ends what it has begun."""
        assert self._child is not None
        workers = psutil.Process(self._child.process.pid).children()
        self._end(signal.SIGKILL)
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(workers, timeout=30)

    def freeze(self) -> None:
        """See Server. The processes that work for connections are frozen, too."""
        assert self._child is not None
        # First the one that would start more of them.
        self._child.freeze()
        workers = psutil.Process(self._child.process.pid).children()
        for worker in workers:
            worker.suspend()
        wait_for(lambda: all(worker.status() == psutil.STATUS_STOPPED for worker in workers), 10)

    def thaw(self) -> None:
        """See Server."""
        assert self._child is not None
        for worker in psutil.Process(self._child.process.pid).children():
            worker.resume()
        self._child.thaw()

    def close(self) -> None:
        """See Server."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        if self._child is not None:
            self._child.end(number)


def _without_settings() -> dict[str, str]:
    """This environment without what is meant for other servers and their clients."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _container(docker: str, settings: dict[str, str]) -> Container:
    """The official image, which is the community edition, open to this machine only."""
    (port,) = free_ports(1)
    password = secrets.token_hex(16)
    address = f"postgresql://postgres:{password}@{LOOPBACK}:{port}/postgres"
    inside = {
        "listen_addresses": "*",
        "unix_socket_directories": "/var/run/postgresql",
        "timescaledb.max_background_workers": "16",
    }
    return Container(
        docker,
        IMAGE,
        address=address,
        ports={port: 5432},
        environment={"POSTGRES_PASSWORD": password},
        arguments=["postgres", *(f"-c{name}={value}" for name, value in (_SETTINGS | inside | settings).items())],
        answers=lambda: _answers(address),
        seconds=START_SECONDS,
    )
