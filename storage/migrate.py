"""Brings a database to what this version needs: numbered migrations, a table for every declared rollup, hypertables."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.resources import files

import structlog
from psycopg import sql

from aggregators.rollup import Rollup
from storage import roles, rollup_sql
from storage.database import SERVICE_ROLE, Conn, StorageUnavailable, connect, translated
from storage.edition import create_extension, detect
from storage.hypertables import ensure_hypertables
from storage.leaderboard import ensure_standings

log = structlog.get_logger(__name__)

_LOCK = 7_205_759_403_792_791


def migrations() -> list[tuple[int, str, str]]:
    """Number, name and SQL of every migration, in order."""
    folder = files("storage") / "migrations"
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name, (folder / name).read_text("utf-8")) for name in found]


def migrate(url: str, rollups: Sequence[Rollup], *, wait_s: float = 60.0, compress_after_days: int = 7) -> list[str]:
    """Applies what is missing and returns the rollups that must be filled from the raw events. Safe to run from many processes.

    TimescaleDB is used where the server has it; `compress_after_days` is the age at which its community edition compresses a day
    of raw events.

    A login that does not own the database changes nothing: it is told whether the owner has brought it to this version, and raises
    StorageUnavailable where not.
    """
    with translated(), connect(url, name="migrate") as connection:
        if not _ours(connection):
            return _migrated(connection, rollups)
        _lock(connection, wait_s)
        try:
            create_extension(url)
            connection.execute("set lock_timeout = '4s'")
            _apply(connection)
            for rollup in rollups:
                rollup_sql.ensure(connection, rollup)
            ensure_standings(connection)
            found = detect(connection)
            log.info("database", edition=found.name, postgresql=found.postgresql, timescaledb=found.timescaledb)
            ensure_hypertables(connection, rollups, found, compress_after_days=compress_after_days)
            roles.grant(connection, rollups)
            return _unfilled(connection)
        finally:
            connection.execute("select pg_advisory_unlock(%s)", (_LOCK,))


def _ours(connection: Conn) -> bool:
    """Whether the login may change what is there; of a database in which there is nothing it tries to."""
    row = connection.execute(
        "select pg_has_role(current_user, nspowner, 'usage') from pg_namespace where nspname = 'store'"
    ).fetchone()
    return row is None or bool(row[0])


def _migrated(connection: Conn, rollups: Sequence[Rollup]) -> list[str]:
    """The rollups to be filled, of a database that is as this version needs it; else raises StorageUnavailable."""
    connection.execute("select set_config('role', %s, false)", (SERVICE_ROLE,))
    done = {number for (number,) in connection.execute("select number from public.streamgauge_migration")}
    declared: dict[str, str] = dict(connection.execute("select name, declaration from store.rollup").fetchall())
    if done != {number for number, _, _ in migrations()} or any(
        declared.get(rollup.name) != rollup_sql.declared(rollup) for rollup in rollups
    ):
        raise StorageUnavailable(
            "the database is not as this version needs it, and this login does not own it: start a process with the owner's"
            " DATABASE_URL, which migrates it"
        )
    return _unfilled(connection)


def _unfilled(connection: Conn) -> list[str]:
    return [name for (name,) in connection.execute("select name from store.rollup where not filled order by name")]


def _lock(connection: Conn, wait_s: float) -> None:
    """Polls for the lock: waiting inside the database would hold a snapshot that index builds wait for in turn."""
    deadline = time.monotonic() + wait_s
    while True:
        row = connection.execute("select pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > deadline:
            raise StorageUnavailable("another process is migrating the database and does not finish")
        time.sleep(0.2)


APPLIED = (
    "create table if not exists public.streamgauge_migration"
    " (number integer primary key, name text not null, applied_at timestamptz not null default now())"
)
"""Makes the table of what was applied, which is there before the first migration."""


def _apply(connection: Conn) -> None:
    connection.execute(APPLIED)
    done = {number for (number,) in connection.execute("select number from public.streamgauge_migration")}
    known = migrations()
    if done - {number for number, _, _ in known}:
        raise StorageUnavailable("the database was migrated by a newer version of Streamgauge")
    for number, name, text in known:
        if number in done:
            continue
        with connection.transaction():
            connection.execute(sql.SQL(text))
            connection.execute(
                "insert into public.streamgauge_migration (number, name) values (%s, %s)", (number, name)
            )
