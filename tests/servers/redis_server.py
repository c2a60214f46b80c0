"""Redis for tests: the URL that the environment names, a container, or the machine's own `redis-server`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.servers.child import Child
from tests.servers.container import Container, engine
from tests.servers.missing import ServerMissingError
from tests.servers.ports import LOOPBACK, free_ports
from tests.servers.server import Server, wait_for

VARIABLE = "STREAMGAUGE_TEST_REDIS"
START_SECONDS = 30.0
IMAGE = "redis:8.2.1-alpine"

_SETTINGS = {"save": "", "appendonly": "no", "maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}


def given_url() -> str | None:
    """The server that the environment names; None where it names none. Raises ServerMissingError where that does not answer."""
    url = os.environ.get(VARIABLE)
    if url and not wait_for(lambda: _answers(url), 10):
        raise ServerMissingError(f"no server answers at the URL that {VARIABLE} names")
    return url or None


def prepare() -> None:
    """Looks whether there is a Redis. Raises ServerMissingError."""
    if engine() is None:
        _program()


@contextmanager
def own_redis() -> Iterator[Server]:
    """A server of the caller's own, which it may stop and kill; gone with its data at the end. Raises ServerMissingError."""
    docker = engine()
    server: Server = _container(docker) if docker else RedisProcess(_program())
    try:
        server.start()
        yield server
    finally:
        server.close()


def _program() -> str:
    found = shutil.which("redis-server")
    if found is None:
        raise ServerMissingError(
            "there is neither a container engine nor redis-server (Debian: apt-get install redis-server)"
        )
    return found


def _answers(url: str) -> bool:
    """Whether it says PONG; one that wants a password answers too."""
    host, _, port = url.rpartition("@")[2].removeprefix("redis://").partition("/")[0].partition(":")
    try:
        with socket.create_connection((host, int(port or 6379)), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64)[:1] in (b"+", b"-")
    except OSError:
        return False


class RedisProcess:
    """A server that keeps nothing on disk. See tests.servers.server.Server."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="sg-redis-", dir="/tmp"))
        self._child: Child | None = None
        self.address = ""

    def start(self) -> None:
        """See Server. It has forgotten everything."""
        for _ in range(1 if self.address else 3):
            address = self.address or f"redis://{LOOPBACK}:{free_ports(1)[0]}"
            settings = _SETTINGS | {"bind": LOOPBACK, "port": address.rpartition(":")[2], "dir": str(self._folder)}
            child = Child(
                [self._program, *(part for name, value in settings.items() for part in (f"--{name}", value))],
                folder=self._folder,
                log=self._folder / "log",
            )
            if wait_for(partial(_answers, address), START_SECONDS, child.is_running):
                self._child, self.address = child, address
                return
            child.end(signal.SIGKILL)
        raise ServerMissingError(f"Redis did not start: {child.last_words}")

    def stop(self) -> None:
        """See Server."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """See Server."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """See Server."""
        assert self._child is not None
        self._child.freeze()

    def thaw(self) -> None:
        """See Server."""
        assert self._child is not None
        self._child.thaw()

    def close(self) -> None:
        """See Server."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        if self._child is not None:
            self._child.end(number)


def _container(docker: str) -> Container:
    """The official image, open to this machine only."""
    (port,) = free_ports(1)
    address = f"redis://{LOOPBACK}:{port}"
    return Container(
        docker,
        IMAGE,
        address=address,
        ports={port: 6379},
        environment={},
        arguments=["redis-server", *(part for name, value in _SETTINGS.items() for part in (f"--{name}", value))],
        answers=lambda: _answers(address),
        seconds=START_SECONDS,
    )
