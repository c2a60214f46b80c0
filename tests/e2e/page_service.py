"""The service as its own process, and a browser to look at it: what the page's tests share."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NOT_TESTED = "THE PAGE IS NOT TESTED: no chromium on the path; install one, or name it in $CHROMIUM"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_LINK = re.compile(r"http://\S+/signin\?token=\S+")
_T = TypeVar("_T")


def browser_path() -> str | None:
    """Where Chromium is: in $CHROMIUM, else on the path; None where there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in BROWSERS if (found := shutil.which(name))), None)


def eventually(read: Callable[[], _T], holds: Callable[[_T], bool], *, seconds: float = 20.0) -> _T:
    """Reads until it holds, and fails with what was read last."""
    deadline = time.monotonic() + seconds
    while True:
        found = read()
        if holds(found):
            return found
        assert time.monotonic() < deadline, f"after {seconds:.0f} s it is still {found!r}"
        threading.Event().wait(0.05)


def free_port() -> int:
    """A free port that no outgoing connection is given."""
    random = Random()
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ServiceProcess:
    """`streamgauge run` on a port and a data folder of its own, over the given database."""

    def __init__(self, data: Path, database_url: str, *, demo: bool = False) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._data = data
        self._command = [sys.executable, str(ROOT / "streamgauge.py"), "run", *(["--demo"] if demo else [])]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")}
        self._environment = {
            **kept,
            "DATABASE_URL": database_url,
            "STREAMGAUGE_DATA": str(data),
            "STREAMGAUGE_PORT": str(self.port),
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Starts it and returns the one-time link that it prints."""
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process, lines), daemon=True).start()
        said: list[str] = []
        while (line := lines.get(timeout=60)) is not None:
            said.append(line)
            if link := _LINK.search(line):
                return link[0]
        raise AssertionError("the service ended: " + "".join(said))

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                lines.put(line)
        lines.put(None)

    def stop(self) -> None:
        """Ends it as Ctrl-C does."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            finally:
                process.kill()

    @property
    def credentials(self) -> dict[str, str]:
        """What the first start wrote down."""
        return dict(json.loads((self._data / "credentials.json").read_text("utf-8")))

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with small names, and body."""
        return self._send(urllib.request.Request(self.url + path, headers=headers))

    def post(self, events: list[dict[str, Any]] | dict[str, Any]) -> None:
        """Posts events of the default organization, all of which must be accepted."""
        headers = {"Authorization": f"Bearer {self.credentials['api_key']}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + "/api/v1/events", json.dumps(events).encode(), headers)
        status, _, body = self._send(request)
        assert status == 202, body
        assert json.loads(body)["rejected"] == []

    @staticmethod
    def _send(request: urllib.request.Request) -> tuple[int, dict[str, str], bytes]:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
