"""A whole service in a process of its own, as a user starts it: for tests that end it in every way there is."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from front.settings import NAMES

ROOT = Path(__file__).parents[1]


def wait_until(true: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Polls until `true()` is; fails the test with `what` was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = true()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def command(*arguments: str, data: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts `streamgauge ARGUMENTS` with its data in a folder; output goes to a pipe, both streams in one."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "streamgauge.py"), *arguments],
        cwd=ROOT,
        env=clean_environment(data) | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def clean_environment(data: Path) -> dict[str, str]:
    """This environment without the settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("STREAMGAUGE_")}
    for name in NAMES.values():
        kept.pop(name, None)
    return kept | {"STREAMGAUGE_DATA": str(data), "STREAMGAUGE_PORT": "0", "COLUMNS": "200"}


class ServiceProcess:
    """`streamgauge run` on a free port, until it is ended."""

    def __init__(self, data: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.data = data
        self.process = command("run", *arguments, data=data, environment=environment)
        self.output: list[str] = []
        self.url = ""
        self.sign_in = ""
        self._read_banner()

    def _read_banner(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line)
            if found := re.search(r"up after .* at (http://\S+)", line):
                self.url = found[1]
            if found := re.search(r"(http://\S+/signin\S+)", line):
                self.sign_in = found[1]
            if "Ctrl-C" in line:
                return
        raise AssertionError("the service did not start:\n" + "".join(self.output))

    @property
    def credentials(self) -> dict[str, str]:
        """What credentials.json holds."""
        values: dict[str, str] = json.loads((self.data / "credentials.json").read_text("utf-8"))
        return values

    def request(
        self, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON (or text) and headers of a request with the API key."""
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.credentials['api_key']}", "Content-Type": "application/json"}
            | (headers or {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, _decoded(answer.read()), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _decoded(error.read()), dict(error.headers)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 15.0) -> int:
        """Ends it and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            rest, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise AssertionError(f"the service did not end within {seconds} s") from None
        self.output.append(rest or "")
        return self.process.returncode

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> ServiceProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
