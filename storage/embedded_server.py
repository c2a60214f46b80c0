"""Making an embedded cluster, running its server, and reading what the server says when it cannot start."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote_from_bytes

import psycopg
from psycopg import sql

from storage import embedded_binaries as binaries
from storage import embedded_place as place
from storage import embedded_reaper as reaper
from storage.embedded_errors import ClusterInUseError, EmbeddedPostgresError, OtherMajorVersionError, from_log

ROLE = "postgres"
DATABASE = "streamgauge"
PORT = 5432
_TAIL_BYTES = 3000

DEFAULTS: Mapping[str, str] = {
    # An accepted event is on disk.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # A machine of a few cores and a few GB, shared with the service.
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_connections": "100",
    # Upserts after a checkpoint write whole pages: to compress them (pglz is all that this build has) took a seventh of their time,
    # and so did to make new files for the log where old ones could be written over.
    "max_wal_size": "2GB",
    "min_wal_size": "512MB",
    "wal_compression": "off",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    # Compiling a query takes longer than running one of ours.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}


def fixed_settings(socket_folder: Path, log_folder: Path) -> dict[str, str]:
    """The settings that the lifecycle depends on: reached by its socket only, and a log of bounded size."""
    quoted = str(socket_folder).replace('"', '""')
    return {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": f'"{quoted}"',
        "unix_socket_permissions": "0700",
        "lc_messages": "C",
        # The reaper keeps only the newest of these files.
        "logging_collector": "on",
        "log_destination": "stderr",
        "log_directory": str(log_folder),
        "log_filename": "server-%Y%m%d-%H%M%S.log",
        "log_rotation_size": "4MB",
        "log_rotation_age": "0",
    }


def make_cluster(home: Path, account: place.ServerAccount, server_lock: int) -> None:
    """Makes the data directory where there is none, under another name until it is whole and on disk.

    initdb inherits the server's lock, so that one whose starter was killed is not disturbed by the next start.
    """
    data, unfinished, installed = home / "data", home / "data.new", binaries.installed_major()
    if data.exists():
        found = (data / "PG_VERSION").read_text().strip()
        if found != installed:
            raise OtherMajorVersionError(
                f"the cluster in {home} was made by PostgreSQL {found}, and PostgreSQL {installed} is installed: "
                "bring it over with pg_dump or pg_upgrade, or start in another data folder"
            )
        return
    if unfinished.exists():
        shutil.rmtree(unfinished)
    initdb = binaries.find_binaries(home, account) / "initdb"
    # The builtin locale sorts the same on every system, and after every upgrade of the C library.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    done = place.run_as(
        account,
        [initdb, "-D", unfinished, "-U", ROLE, "-A", "peer", *locale, "--no-instructions"],
        keep=[server_lock],
    )
    if done.returncode != 0:
        raise from_log(f"initdb could not make a cluster in {home}", done.stdout[-_TAIL_BYTES:])
    # The kernel tells the server which user is at the other end: nobody else gets in, with or without a password.
    users = "".join(f'{DATABASE} "{name}" {ROLE}\n' for name in sorted({account.name, "root"}))
    place.write_file(unfinished / "pg_hba.conf", f"local all {ROLE} peer map={DATABASE}\n".encode(), account)
    place.write_file(unfinished / "pg_ident.conf", users.encode(), account)
    _sync(unfinished)
    unfinished.rename(data)
    _sync(home)


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def open_log(home: Path, account: place.ServerAccount, name: str) -> int:
    """An emptied file in the cluster's folder `log`, open for appending."""
    place.prepare_place(home / "log", account)
    return place.open_private(home / "log" / name, os.O_WRONLY | os.O_TRUNC | os.O_APPEND, account)


def launch_server(home: Path, account: place.ServerAccount, settings: Mapping[str, str], server_lock: int) -> None:
    """Starts the postmaster, which inherits the server's lock; the caller holds that lock, so none is running."""
    data, folder = home / "data", place.socket_folder(home, account)
    pid_file = data / "postmaster.pid"
    if pid_file.exists():
        # A crash left it. PostgreSQL would believe the pid in it, which may be another process's by now; but a server
        # that somebody started by hand holds no lock of ours, and its file must stay.
        strangers = reaper.server_processes(data)
        if strangers:
            raise ClusterInUseError(f"a PostgreSQL that was started by hand runs on {data} (process {strangers[0]})")
        pid_file.unlink()
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (folder / name).unlink(missing_ok=True)
    options = [f"--{name}={value}" for name, value in {**settings, **fixed_settings(folder, home / "log")}.items()]
    postgres = binaries.find_binaries(home, account) / "postgres"
    log = open_log(home, account, "startup.log")
    place.launch(account, [postgres, "-D", data, *options], server_lock, log)


def wait_until_ready(home: Path, deadline: float) -> str:
    """The URL of the server just launched, once it is ready; the caller has closed its copy of the server's lock.

    Raises the `EmbeddedPostgresError` that fits the server's log where the server ends instead.
    """
    while time.monotonic() < deadline:
        noted = reaper.read_pid_file(home / "data")
        if noted is not None and noted.status == "ready":
            try:
                return make_database(noted.socket_folder)
            except psycopg.OperationalError as error:
                raise from_log(f"the server in {home} refuses its own user: {error}", log_tail(home)) from error
        if reaper.server_is_gone(home):
            raise from_log(f"PostgreSQL could not start in {home}", log_tail(home))
        time.sleep(reaper.POLL_SECONDS)
    raise EmbeddedPostgresError(f"PostgreSQL in {home} is not ready yet: it may be recovering", log=log_tail(home))


def make_database(socket_folder: Path) -> str:
    """Creates our database where it is missing, and returns its URL. Raises `psycopg.OperationalError`."""
    with psycopg.connect(_url(socket_folder, "postgres"), autocommit=True, connect_timeout=10) as connection:
        exists = sql.SQL("SELECT 1 FROM pg_database WHERE datname = {}").format(DATABASE)
        if connection.execute(exists).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    return _url(socket_folder, DATABASE)


def _url(socket_folder: Path, database: str) -> str:
    host = quote_from_bytes(os.fsencode(socket_folder), safe="")
    return f"postgresql://{ROLE}@/{database}?host={host}&port={PORT}"


def log_tail(home: Path) -> str:
    """The end of what the server wrote at its last start: before its log file was open, and in it."""
    logs = [home / "log" / "startup.log", *sorted((home / "log").glob("server-*.log"))[-1:]]
    return "".join(path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace") for path in logs if path.exists())
