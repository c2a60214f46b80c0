"""A server's process that a test can stop, kill and freeze, and that does not outlive the tests, however those end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Its standard input ends with the process that holds the other end of the pipe, even by SIGKILL. A pidfd cannot meet a later
# process of the same number; where there is none the number has to do.
_REAPER = """
import os, shutil, signal, sys
pid, number, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
except ProcessLookupError:
    sys.exit()
if sys.stdin.buffer.read() == b"":
    try:
        for one in (number, signal.SIGCONT):
            signal.pidfd_send_signal(handle, one) if handle is not None else os.kill(pid, one)
    except ProcessLookupError:
        pass
    shutil.rmtree(folder, ignore_errors=True)
"""


class Child:
    """A running process; what it prints is added to the file `log`.

    Where this process ends without having ended it, it gets the signal `orphaned`, and `folder` is removed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        orphaned: int = signal.SIGKILL,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the tests, which end their servers themselves.
                start_new_session=True,
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
            )
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _REAPER, str(self.process.pid), str(int(orphaned)), str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def last_words(self) -> str:
        """The end of what it printed."""
        return self.log.read_text("utf-8", errors="replace")[-3_000:]

    def send(self, number: int) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def freeze(self) -> None:
        """Returns when none of its threads runs any more."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """Lets it go on."""
        self.send(signal.SIGCONT)

    def end(self, number: int, seconds: float = 30.0) -> int:
        """Sends it a signal, waits for its end and returns its exit code; kills it where it takes longer than `seconds`."""
        if self.is_running():
            self.send(number)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self._reaper.stdin is not None
        if not self._reaper.stdin.closed:
            # It has ended already where it found no process to watch.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._reaper.stdin.fileno(), b"ended")
            self._reaper.stdin.close()
            self._reaper.wait()
        return self.process.returncode
