"""Ends an embedded server that nobody holds any more; run as a program, it waits for that moment, however it comes.

Four flocks in the cluster's folder say who is alive. The kernel frees a dead process's locks, so no pid is believed:

- `start.lock`: exclusive for whoever is starting or leaving, one at a time.
- `users.lock`: shared by every process that holds the cluster open; exclusive for whoever ends the server.
- `server.lock`: inherited by the postmaster and its children; free means that no process of the server is left.
- `reaper.lock`: held by the reaper; free means that the next start has to bring a new one.

As a program this file is run by its path, isolated from the caller's import path, so it imports nothing of this
project.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

START_LOCK, USERS_LOCK, SERVER_LOCK, REAPER_LOCK = "start.lock", "users.lock", "server.lock", "reaper.lock"
POLL_SECONDS = 0.01
SILENT_SECONDS = 1.0
"""How long a server may be without a socket before it counts as one that never will have one."""
LOGS_KEPT = 4
_PRUNE_SECONDS = 30.0
_PID_FILE_LINES = 8


@dataclass(frozen=True)
class Postmaster:
    """What `postmaster.pid` says of the server; `status` is `starting`, `ready`, `stopping` or `standby`."""

    pid: int
    port: int
    socket_folder: Path
    status: str


def read_pid_file(data: Path) -> Postmaster | None:
    """What the cluster's pid file says, None where it is missing or still being written. It may be stale."""
    try:
        lines = (data / "postmaster.pid").read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(lines) < _PID_FILE_LINES:
        return None
    return Postmaster(int(lines[0]), int(lines[3]), Path(os.fsdecode(lines[4])), lines[7].decode().strip())


def listening_pid(data: Path) -> int | None:
    """The pid of the postmaster that listens on the cluster's socket, asked from the kernel; None where none does."""
    noted = read_pid_file(data)
    if noted is None:
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fsencode(noted.socket_folder / f".s.PGSQL.{noted.port}"))
            if sys.platform == "linux":
                pid: int = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            else:  # macOS: SOL_LOCAL, LOCAL_PEERPID
                pid = struct.unpack("i", probe.getsockopt(0, 2, 4))[0]
        except (BlockingIOError, TimeoutError):
            return noted.pid  # Somebody listens, with a queue so full that the kernel cannot say who.
        except OSError:
            return None
    return pid


def server_processes(data: Path) -> list[int]:
    """The pids of the processes called postgres that work in the data directory, as those of its server all do."""
    import psutil  # The reaper lives as long as the server: it pays for psutil only when it needs it.

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name() == "postgres" and process.cwd() == str(data):
                found.append(process.pid)
    return found


def try_lock(lock: int, kind: int) -> bool:
    """Takes the flock (`LOCK_SH` or `LOCK_EX`) on an open file if it is to be had now."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def server_is_gone(home: Path) -> bool:
    """Whether no process of the cluster's server (or of its initdb) is left."""
    try:
        lock = os.open(home / SERVER_LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        return try_lock(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def end_server(home: Path, seconds: float) -> bool:
    """Stops the server as `pg_ctl stop -m fast` does and waits until its last process is gone; True if that came true.

    The children of a postmaster that was killed are told to quit, as it would have told them: a busy one would
    otherwise keep the next server from starting for as long as its query runs.
    """
    data, deadline = home / "data", time.monotonic() + seconds
    asked = -math.inf
    alone_since: float | None = None
    while not server_is_gone(home):
        now = time.monotonic()
        if now > deadline:
            return False
        pid = listening_pid(data)
        if pid is not None:
            alone_since = None
        elif alone_since is None:
            alone_since = now
        if now - asked > 1.0:
            if pid:
                asked = now
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
            elif alone_since is not None and now - alone_since > SILENT_SECONDS:
                asked = now
                for orphan in server_processes(data):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(orphan, signal.SIGQUIT if now - alone_since < 5.0 else signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return True


def prune_logs(folder: Path) -> None:
    """Deletes all but the newest of the server's log files, each of which the server bounds in size."""
    for old in sorted(folder.glob("server-*.log"))[:-LOGS_KEPT]:
        old.unlink(missing_ok=True)


def _prune_for_ever(folder: Path) -> None:
    never = threading.Event()
    prune_logs(folder)
    while not never.wait(_PRUNE_SECONDS):
        prune_logs(folder)


def main(home: Path, reaper_lock: int) -> None:
    """Waits until nobody holds the cluster, then ends its server.

    A closing terminal or a service manager that signals the whole group must not end the reaper before its work.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # The lowest descriptor is closed first when a process is killed: the reaper must be seen to be gone before
    # users.lock lets the next start in.
    os.dup2(reaper_lock, 0)
    os.close(reaper_lock)
    threading.Thread(target=_prune_for_ever, args=(home / "log",), daemon=True).start()
    users = os.open(home / USERS_LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    fcntl.flock(users, fcntl.LOCK_EX)
    end_server(home, math.inf)
    os.close(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
