"""The database crashes, is full, ends connections, breaks deadlocks and refuses to serialize: nothing is lost, nothing counts twice."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from storage.embedded_place import prepare_place
from tests.chaos.cluster import Cluster, cluster
from tests.chaos.conftest import SEED
from tests.chaos.expected import assert_right
from tests.chaos.walk import flowing, sent
from tests.integration.stored import run
from tests.servers.server import Server
from tests.servers.timescale import TimescaleProcess
from tests.service_process import wait_until


def test_the_database_is_killed_and_comes_back(installation: Cluster) -> None:
    with flowing(installation, SEED) as senders:
        sent(senders)
        installation.database.kill()
        wait_until(lambda: all(one.answers.unavailable for one in senders), "senders to be told to come again")
        installation.database.start()
        sent(senders)
    assert_right(installation, senders)


@pytest.mark.chaos
def test_connections_are_ended_again_and_again(installation: Cluster) -> None:
    with flowing(installation, SEED) as senders:
        for _ in range(8):
            sent(senders, 1)
            run(
                installation.database_url,
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()",
            )
    assert_right(installation, senders)


def test_transactions_that_cannot_be_serialized_are_done_again(installation: Cluster) -> None:
    # A sequence is not rolled back, so one transaction in three fails, at its end, and succeeds when it is tried again.
    run(
        installation.database_url,
        "create sequence store.attempts",
        "grant usage on sequence store.attempts to public",
        """create function store.fail() returns trigger language plpgsql as $$ begin
            if nextval('store.attempts') % 3 = 0 then
                raise exception 'could not serialize access' using errcode = 'serialization_failure';
            end if;
            return null;
        end $$""",
        "create trigger fail after insert on store.feed for each statement execute function store.fail()",
    )
    with flowing(installation, SEED) as senders:
        sent(senders, 9)
        # A slow machine writes all of that in a transaction or two.
        while "SerializationFailure" not in installation.logs(None):
            sent(senders, 1)
    assert_right(installation, senders)


def test_a_deadlock_is_broken_and_the_group_written_again(installation: Cluster) -> None:
    with flowing(installation, SEED) as senders:
        sent(senders)
        wait_until(
            lambda: _deadlocked(installation.database_url) and "DeadlockDetected" in installation.logs(None),
            "a deadlock",
            60,
        )
        sent(senders)
    assert_right(installation, senders)


def _deadlocked(url: str) -> bool:
    """Makes the sink and this wait for each other; whichever the database chooses to fail. False where they did not meet."""
    with psycopg.connect(url) as connection:
        connection.execute("set deadlock_timeout = '5s'")
        connection.execute("lock table store.feed in share mode")
        found = wait_until(lambda: _held_by_who_waits(connection), "the sink to come to the feed")
        with suppress(psycopg.errors.DeadlockDetected):
            connection.execute(SQL("lock table {} in share mode").format(Identifier("store", found)))
        connection.rollback()
    return True


def _held_by_who_waits(connection: psycopg.Connection) -> str | None:
    """A table of raw events that somebody has written to who waits for the feed now."""
    row = connection.execute(
        "select c.relname from pg_locks waits join pg_locks held using (pid) join pg_class c on c.oid = held.relation"
        " where not waits.granted and waits.relation = 'store.feed'::regclass and held.granted"
        " and held.mode = 'RowExclusiveLock' and c.relname like 'event\\_%' limit 1"
    ).fetchone()
    return row[0] if row else None


@pytest.fixture
def narrow(shared_database: Server, chaos_template: str) -> Iterator[tuple[Cluster, Callable[[bool], None]]]:
    """An installation whose tables are on a file system of their own, and what fills that and empties it again."""
    if not isinstance(shared_database, TimescaleProcess):
        pytest.skip("NOT RUN: a full disk needs a database that runs on this machine's files")
    with _small_disk() as disk, psycopg.connect(shared_database.address, autocommit=True) as connection:
        place = disk / "tables"
        prepare_place(place)
        connection.execute(SQL("create tablespace narrow location {}").format(Literal(str(place))))
        connection.execute(
            SQL("create database narrow template {} tablespace narrow").format(Identifier(chaos_template))
        )
        ballast = disk / "ballast"

        def fill(full: bool) -> None:
            if full:
                with ballast.open("wb") as file, suppress(OSError):
                    while True:
                        file.write(bytes(65_536))
            else:
                ballast.unlink()

        try:
            url = shared_database.address.rpartition("/")[0] + "/narrow"
            with cluster(shared_database, url, None) as made:
                made.start_all()
                yield made, fill
        finally:
            connection.execute("drop database narrow with (force)")
            connection.execute("drop tablespace narrow")


@contextmanager
def _small_disk() -> Iterator[Path]:
    """A file system of 256 MB in memory. Needs the right to mount one, which root has."""
    folder = Path(tempfile.mkdtemp(prefix="sg-disk-", dir="/tmp"))
    folder.chmod(0o755)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m,mode=755", "tmpfs", folder], capture_output=True, text=True
    )
    try:
        if mounted.returncode:
            pytest.skip(f"NOT RUN: a full disk needs the right to mount one: {mounted.stderr.strip()}")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_full_disk_is_waited_for(narrow: tuple[Cluster, Callable[[bool], None]]) -> None:
    installation, fill = narrow
    # Whoever connects meanwhile may be turned away: the file of the catalogue's cache, which is made anew now and then, has no room.
    with psycopg.connect(installation.database_url, autocommit=True) as asked, flowing(installation, SEED) as senders:
        sent(senders)
        fill(True)
        wait_until(lambda: all(one.answers.unavailable >= 3 for one in senders), "the disk to be full", 60)
        assert asked.execute("select 1").fetchone() == (1,)
        fill(False)
        sent(senders)
    assert_right(installation, senders)
