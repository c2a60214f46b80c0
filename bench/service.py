"""A real service for the benchmarks: the process that `streamgauge run` starts, on a folder that is thrown away."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from storage.embedded import EmbeddedPostgres

_START_SECONDS = 120.0


@dataclass(frozen=True)
class Service:
    """A running service: where it listens, its key and organization, its database and its process."""

    host: str
    port: int
    key: str
    organization: UUID
    database_url: str
    pid: int
    folder: Path


@contextlib.contextmanager
def running(settings: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Starts the service with its embedded database, as anybody would, and stops all at the end; `settings` are its environment's."""
    folder = Path(tempfile.mkdtemp(prefix="streamgauge-bench-"))
    # PostgreSQL's own user must be able to enter, where this one is root.
    folder.chmod(0o755)
    host, port = "127.0.0.1", free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")}
    environment.pop("DATABASE_URL", None)
    environment |= {
        "STREAMGAUGE_DATA": str(folder / "data"),
        "STREAMGAUGE_PORT": str(port),
        "STREAMGAUGE_COLLECT_HOST": "false",
        "STREAMGAUGE_LOG_LEVEL": "warning",
        **(settings or {}),
    }
    root = Path(__file__).parent.parent
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(root / "streamgauge.py"), "run"], cwd=root, env=environment, stdout=log, stderr=log
        )
    try:
        await_answer(host, port, process, folder / "log")
        credentials = json.loads((folder / "data" / "credentials.json").read_text())
        with EmbeddedPostgres(folder / "data") as database:
            yield Service(
                host,
                port,
                credentials["api_key"],
                UUID(credentials["organization_id"]),
                database.start(),
                process.pid,
                folder,
            )
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port below the range that outgoing connections take theirs from. Where the search begins differs, so that two runs do not meet."""
    for port in sorted(range(18_000, 32_000), key=lambda port: (port - os.getpid() * 97) % 14_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port between 18000 and 32000 is free")


def await_answer(host: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until a service answers; raises RuntimeError with its log where it does not."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError(f"the service did not start:\n{log.read_text()[-3000:]}")
