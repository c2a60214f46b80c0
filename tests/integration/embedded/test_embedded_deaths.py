"""The embedded PostgreSQL when processes die, and when several share it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg

from storage import embedded_reaper
from storage.embedded import EmbeddedPostgres
from tests.integration.embedded.holder import AS_ROOT, Holder, count_up, kill, postmaster, reaper_pids, run, until


def test_the_server_ends_by_itself_when_its_owner_is_killed(used_folder: Path, holder: Callable[..., Holder]) -> None:
    owner = holder(used_folder)
    started = owner.start()
    assert count_up(started["url"]) == 1
    owner.kill()
    until(lambda: embedded_reaper.server_is_gone(Path(started["cluster"])), "the server to end")
    with EmbeddedPostgres(used_folder) as postgres:
        assert count_up(postgres.start()) == 2


def test_a_start_right_after_the_owner_was_killed_waits_for_the_old_server(
    used_folder: Path, holder: Callable[..., Holder]
) -> None:
    for number in range(1, 6):
        owner = holder(used_folder)
        assert count_up(owner.start()["url"]) == number
        owner.kill()
    with EmbeddedPostgres(used_folder) as postgres:
        assert count_up(postgres.start()) == 6


def test_after_a_kill_of_everything_a_reused_pid_is_not_taken_for_the_server(
    used_folder: Path, holder: Callable[..., Holder]
) -> None:
    owner = holder(used_folder)
    started = owner.start()
    cluster = Path(started["cluster"])
    assert count_up(started["url"]) == 1
    kill(*reaper_pids(cluster))
    owner.kill()
    kill(*embedded_reaper.server_processes(cluster / "data"))
    until(lambda: embedded_reaper.server_is_gone(cluster), "the killed processes to be gone")
    account = (cluster / "data").stat().st_uid
    with subprocess.Popen(["sleep", "60"], user=account if AS_ROOT else None) as innocent:
        for file in (cluster / "data" / "postmaster.pid", cluster / "run" / ".s.PGSQL.5432.lock"):
            stale = file.read_text().splitlines(keepends=True)
            file.write_text("".join([f"{innocent.pid}\n", *stale[1:]]))
        with EmbeddedPostgres(used_folder) as postgres:
            assert count_up(postgres.start()) == 2
        assert innocent.poll() is None
        innocent.kill()


def test_a_busy_child_of_a_killed_postmaster_does_not_hold_up_the_next_start(
    used_folder: Path, holder: Callable[..., Holder]
) -> None:
    owner = holder(used_folder)
    started = owner.start()
    cluster = Path(started["cluster"])
    with contextlib.closing(psycopg.connect(started["url"], autocommit=True)) as client:
        pid = client.info.backend_pid
        client.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")
        until(
            lambda: run(started["url"], f"SELECT state FROM pg_stat_activity WHERE pid = {pid}") == [("active",)],
            "the query to run",
        )
        kill(*reaper_pids(cluster), postmaster(cluster))
        owner.kill()
        with EmbeddedPostgres(used_folder) as postgres:
            assert count_up(postgres.start()) == 1
            assert pid not in embedded_reaper.server_processes(cluster / "data")


def test_two_processes_share_the_server_until_the_last_leaves(folder: Path, holder: Callable[..., Holder]) -> None:
    first, second = holder(folder), holder(folder)
    first.begin("start")
    second.begin("start")
    one, other = first.answer(), second.answer()
    assert one == other
    server = postmaster(Path(one["cluster"]))
    first.stop()
    assert count_up(other["url"]) == 1
    assert first.start() == one
    second.kill()
    assert count_up(one["url"]) == 2
    assert postmaster(Path(one["cluster"])) == server
    first.stop()
    assert embedded_reaper.server_is_gone(Path(one["cluster"]))


def test_a_server_that_lost_owner_and_reaper_is_joined_and_gets_a_reaper_again(
    used_folder: Path, holder: Callable[..., Holder]
) -> None:
    owner = holder(used_folder)
    started = owner.start()
    cluster = Path(started["cluster"])
    server = postmaster(cluster)
    kill(*reaper_pids(cluster))
    owner.kill()
    heir = holder(used_folder)
    assert heir.start() == started
    assert postmaster(cluster) == server
    heir.kill()
    until(lambda: embedded_reaper.server_is_gone(cluster), "the new reaper to end the server")


def test_many_processes_that_come_and_go_at_once_never_lose_the_server(
    used_folder: Path, holder: Callable[..., Holder]
) -> None:
    crowd = [holder(used_folder) for _ in range(3)]
    for _ in range(4):
        for one in crowd:
            one.begin("start")
        for one in crowd:
            # Each is let go while others are still coming; whoever holds it can use it.
            count_up(one.answer()["url"])
            one.begin("stop")
        for one in crowd:
            one.answer()
    with EmbeddedPostgres(used_folder) as postgres:
        assert count_up(postgres.start()) == 13
