"""API processes and workers as a user starts them, over a broker and a database of the test's own choice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.api_service import free_port
from tests.service_process import ROOT, clean_environment, wait_until

SECRET = "0123456789abcdef0123456789abcdef"


class Process:
    """`streamgauge ARGUMENTS`, its output read as it comes."""

    def __init__(self, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "streamgauge.py"), *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.output.extend(self.process.stdout)

    @property
    def text(self) -> str:
        """Everything it has said."""
        return "".join(self.output)

    def says(self, what: str, seconds: float = 60.0) -> str:
        """Waits until it has said something; returns the match."""

        def found() -> str | None:
            if match := re.search(what, self.text):
                return match[0]
            if self.process.poll() is not None and not self._reader.is_alive():
                raise AssertionError(f"it ended ({self.process.returncode}) before it said {what}:\n{self.text}")
            return None

        return str(wait_until(found, f"{what} in\n{self.text}", seconds))

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.process.kill()
        self.ended(10)

    def ended(self, seconds: float = 15.0) -> int:
        """Waits for its end; returns its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def stop(self, seconds: float = 15.0) -> int:
        """Ends it as a supervisor does."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.ended(seconds)


class Deployment:
    """Processes that share a broker, a database and topics."""

    def __init__(self, servers: str, url: str, data: Path, **settings: str) -> None:
        self.data = data
        self.environment = clean_environment(data) | {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "DATABASE_URL": url,
            "JWT_SECRET": SECRET,
            "STREAMGAUGE_TOPIC_PREFIX": f"p{os.getpid()}-{Path(data).parent.name}",
            "STREAMGAUGE_PARTITIONS": "3",
            "STREAMGAUGE_SESSION_SECONDS": "2",
            "STREAMGAUGE_COLLECT_HOST": "false",
            "STREAMGAUGE_PUBLIC_OPERATIONS": "true",
            **settings,
        }
        self.processes: list[Process] = []
        self.url = ""

    def start(self, *arguments: str, **settings: str) -> Process:
        """Starts a process."""
        process = Process(arguments, self.environment | settings)
        self.processes.append(process)
        return process

    def api(self, command: str = "api", **settings: str) -> Process:
        """Starts an API process and waits until it answers; requests go to the newest one."""
        port = free_port()
        process = self.start(command, STREAMGAUGE_PORT=str(port), **settings)
        process.says("is up after")
        self.url = f"http://127.0.0.1:{port}"
        return process

    def worker(self, **settings: str) -> Process:
        """Starts a worker and waits until it is at work."""
        process = self.start("worker", **settings)
        process.says("worker is at work")
        return process

    def request(self, path: str, body: Any = None) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers of a request with the first API key."""
        key = json.loads((self.data / "credentials.json").read_text("utf-8"))["api_key"]
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read()), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read()), dict(error.headers)

    def counted(self) -> bool:
        """Whether the monitor, which asks Kafka every two seconds, has seen that everything in the log is counted."""
        _, health, _ = self.request("/health/detailed")
        return health["log"]["lag"] == 0 and health["log"]["problem"] is None

    def close(self) -> None:
        """Ends what is still there."""
        for process in self.processes:
            if process.process.poll() is None:
                process.kill()


@contextmanager
def deployment(servers: str, url: str, **settings: str) -> Iterator[Deployment]:
    """A deployment without processes; what is started in it is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="sgd-", dir="/tmp") as folder:
        made = Deployment(servers, url, Path(folder) / "data", **settings)
        try:
            yield made
        finally:
            made.close()
