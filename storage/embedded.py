"""The lifecycle of an embedded PostgreSQL: one cluster in a folder, shared by the processes that hold it open.

Who is alive is told by flocks (see `embedded_reaper`), never by pids: any process may be killed at any moment, and
the next start finds its way. Where the cluster lives and as whom it runs is `embedded_place`'s.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from storage import embedded_place as place
from storage import embedded_reaper as reaper
from storage import embedded_server as server
from storage.embedded_errors import (
    ClusterInUseError,
    ClusterUnreachableError,
    DiskFullError,
    EmbeddedPostgresError,
    OtherMajorVersionError,
    from_log,
)

__all__ = [
    "ClusterInUseError",
    "ClusterUnreachableError",
    "DiskFullError",
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "OtherMajorVersionError",
]

START_SECONDS = 300.0
"""The longest that a start may take: recovering from a crash reads up to `max_wal_size` of log."""
STOP_SECONDS = 4.5
"""The longest that a stop waits; what is not done by then, the reaper finishes."""
_REFUSED_SECONDS = 15.0


class EmbeddedPostgres:
    """One PostgreSQL cluster in a folder, shared by every process that holds it open, stopped when the last is gone.

    However the last one goes, `kill -9` included: a reaper process stops the server then. Nobody but this user (and
    root) can connect, and there is no TCP port. `settings` are server settings (as in `postgresql.conf`) over
    `embedded_server.DEFAULTS`; they hold for a server that this process starts, not for one that it joins, and may
    not touch the socket or the log (`ValueError`). One object is not for several threads at once.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        for name in settings or {}:
            if name in server.fixed_settings(folder, folder):
                raise ValueError(f"{name}: the embedded PostgreSQL sets this itself")
        self._folder = folder
        self._settings = {**server.DEFAULTS, **(settings or {})}
        self._place: tuple[Path, place.ServerAccount] | None = None
        self._users: int | None = None
        self._url = ""

    @property
    def cluster(self) -> Path:
        """Where the cluster really is: the folder of its `data`, `log` and locks; made on first use.

        `postgres` in the data folder, or the folder that the file `CLUSTER` in the data folder names. Raises
        `EmbeddedPostgresError`.
        """
        return self._locate()[0]

    def start(self) -> str:
        """Starts the server, or joins the running one; returns a libpq URL of the superuser and our database.

        A first start makes the cluster. Where this object holds the server already, it only returns the URL.
        Raises `EmbeddedPostgresError`, or one of its kinds, with the end of the server's log.
        """
        if self._users is not None:
            return self._url
        deadline = time.monotonic() + START_SECONDS
        try:
            with self._start_lock(deadline):
                users = self._open_lock(reaper.USERS_LOCK)
                try:
                    # Waits while a reaper stops the server.
                    self._take(users, fcntl.LOCK_SH, deadline)
                    self._keep_a_reaper()
                    self._url = self._run_or_join(deadline)
                except BaseException:
                    _free(users)
                    raise
        except OSError as error:
            raise _translated(error) from error
        self._users = users
        return self._url

    def stop(self) -> None:
        """Gives up this process's hold; ends the server if it was the last one, and waits for that (under 5 s).

        Clients that are still connected are thrown out. A server that takes longer (a slow disk) is left to the
        reaper, and the next start waits for it. Does nothing where nothing is held.
        """
        users, self._users = self._users, None
        if users is None:
            return
        deadline = time.monotonic() + STOP_SECONDS
        try:
            # A start lock that is not to be had is held by another user of the server, who will be the last one then.
            with contextlib.suppress(TimeoutError), self._start_lock(deadline):
                last = reaper.try_lock(users, fcntl.LOCK_EX)
                # Asking for the exclusive lock gave up the shared one: the reaper may have come first.
                if last or not reaper.try_lock(users, fcntl.LOCK_SH):
                    reaper.end_server(self.cluster, deadline - time.monotonic())
        finally:
            _free(users)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _locate(self) -> tuple[Path, place.ServerAccount]:
        if self._place is None:
            try:
                self._place = place.locate(self._folder.resolve())
            except OSError as error:
                raise _translated(error) from error
        return self._place

    def _open_lock(self, name: str) -> int:
        home, account = self._locate()
        return place.open_private(home / name, os.O_RDWR, account)

    def _take(self, lock: int, kind: int, deadline: float) -> None:
        while not reaper.try_lock(lock, kind):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"another process has been starting or stopping the server in {self.cluster} too long"
                )
            time.sleep(reaper.POLL_SECONDS)

    @contextlib.contextmanager
    def _start_lock(self, deadline: float) -> Iterator[None]:
        lock = self._open_lock(reaper.START_LOCK)
        try:
            self._take(lock, fcntl.LOCK_EX, deadline)
            yield
        finally:
            _free(lock)

    def _keep_a_reaper(self) -> None:
        """Brings a reaper where there is none; before the server, which so is never without one."""
        home, account = self._locate()
        lock = self._open_lock(reaper.REAPER_LOCK)
        try:
            if reaper.try_lock(lock, fcntl.LOCK_EX):
                me = dataclasses.replace(account, switch=False)
                command = [sys.executable, "-I", str(Path(reaper.__file__).resolve()), str(home), str(lock)]
                place.launch(me, command, lock, server.open_log(home, account, "reaper.log"))
        finally:
            os.close(lock)

    def _run_or_join(self, deadline: float) -> str:
        """The URL of a new server where no process of one is left, else of the running one."""
        home, account = self._locate()
        silent_since: float | None = None
        refused_since: float | None = None
        while time.monotonic() < deadline:
            server_lock = self._open_lock(reaper.SERVER_LOCK)
            try:
                mine = reaper.try_lock(server_lock, fcntl.LOCK_EX)
                if mine:
                    server.make_cluster(home, account, server_lock)
                    server.launch_server(home, account, self._settings, server_lock)
            finally:
                # Not freed: from here on it is the server's alone.
                os.close(server_lock)
            if mine:
                return server.wait_until_ready(home, deadline)
            now = time.monotonic()
            noted = reaper.read_pid_file(home / "data")
            if reaper.listening_pid(home / "data") is None:
                # The children of a killed postmaster, or what a killed starter left: none of it will ever listen.
                silent_since = silent_since or now
                if now - silent_since > reaper.SILENT_SECONDS:
                    reaper.end_server(home, deadline - now)
            elif noted is not None and noted.status == "ready":
                try:
                    return server.make_database(noted.socket_folder)
                except psycopg.OperationalError as error:
                    # It may be shutting down; if not, then it has no room for another connection.
                    refused_since = refused_since or now
                    if now - refused_since > _REFUSED_SECONDS:
                        message = f"the running server in {home} lets nobody in: {error}"
                        raise from_log(message, server.log_tail(home)) from error
            time.sleep(reaper.POLL_SECONDS)
        raise from_log(f"the server in {home} neither answered nor ended in time", server.log_tail(home))


def _free(lock: int) -> None:
    # A child forked meanwhile has the descriptor too: closing ours alone would not free the lock.
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def _translated(error: OSError) -> EmbeddedPostgresError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"the disk of the embedded PostgreSQL is full: {error}")
    if isinstance(error, PermissionError):
        return ClusterUnreachableError(f"the embedded PostgreSQL's folder belongs to another user: {error}")
    return EmbeddedPostgresError(f"the embedded PostgreSQL could not start: {error}")
