"""Another process that holds an embedded cluster open, and what one looks at from outside."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg
import pytest

from storage import embedded_reaper

REPOSITORY = Path(__file__).resolve().parents[3]
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="needs root: it is about what root's PostgreSQL may not enter")

HOLDER = """
import json, signal, sys
from pathlib import Path
from storage.embedded import EmbeddedPostgres
signal.signal(signal.SIGINT, signal.SIG_IGN)
held = EmbeddedPostgres(Path(sys.argv[1]))
for line in sys.stdin:
    if line.strip() == "start":
        print(json.dumps({"url": held.start(), "cluster": str(held.cluster)}), flush=True)
    else:
        held.stop()
        print(json.dumps({}), flush=True)
"""


def command_of(user: int | None, *arguments: str) -> list[str]:
    """A Python command line, run as that user where one is given.

    Where that user may not enter the interpreter's own folder (one in root's home), the capability to pass through
    folders is lent to them: the same program, the same user, the same files.
    """
    if user is None:
        return [sys.executable, *arguments]
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("there is no setpriv to run a program as another user with")
    switch = [setpriv, f"--reuid={user}", f"--regid={pwd.getpwuid(user).pw_gid}", "--clear-groups"]
    if subprocess.run([*switch, sys.executable, "-c", ""], capture_output=True).returncode != 0:
        switch += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*switch, sys.executable, *arguments]


class Holder:
    """Another process that holds the cluster open, told what to do through a pipe."""

    def __init__(self, folder: Path, *, user: int | None = None, path: str = "") -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            command_of(user, "-c", HOLDER, str(folder)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, str(REPOSITORY)]))},
            start_new_session=True,
        )

    def begin(self, order: str) -> None:
        pipe: IO[str] | None = self.process.stdin
        assert pipe is not None
        pipe.write(order + "\n")
        pipe.flush()

    def answer(self) -> dict[str, str]:
        assert self.process.stdout is not None
        answer: dict[str, str] = json.loads(self.process.stdout.readline())
        return answer

    def start(self) -> dict[str, str]:
        self.begin("start")
        return self.answer()

    def stop(self) -> None:
        self.begin("stop")
        self.answer()

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Ends the process by closing its orders; what it still holds is let go by its death."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait(timeout=10)


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        pause.wait(0.01)


def run(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def count_up(url: str) -> int:
    """Commits one more row and returns how many there are."""
    run(url, "CREATE TABLE IF NOT EXISTS starts (n bigint GENERATED ALWAYS AS IDENTITY)")
    run(url, "INSERT INTO starts DEFAULT VALUES")
    number: int = run(url, "SELECT count(*) FROM starts")[0][0]
    return number


def postmaster(cluster: Path) -> int:
    pid = embedded_reaper.listening_pid(cluster / "data")
    assert pid
    return pid


def reaper_pids(cluster: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if any(part.endswith("embedded_reaper.py") for part in command) and str(cluster) in command:
                found.append(process.pid)
    return found


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
