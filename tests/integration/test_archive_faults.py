"""The archive where something breaks: a process killed or frozen at any step, a full disk, a damaged file, another folder."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from aggregators.definitions import ROLLUPS
from storage.archive import MARK, Archive, ArchiveDamaged, ArchiveUnavailable
from storage.archive_write import archive_days
from storage.database import Database
from storage.raw_days import drop_raw_days
from storage.recompute import rebuild, verify
from tests.integration.archive_process import STEPS
from tests.integration.archived import BEFORE, DAY, archived, archived_rows, dropped, everything, written
from tests.integration.stored import KINDS, count, found_differences, organizations, rollup_rows, rows, scalar
from tests.samples import START, system
from tests.service_process import ROOT, wait_until


@pytest.mark.parametrize(
    "step", [*(f"{name}:1" for name in STEPS), "piece:2", "sync:2", "publish:3", "read_back:5", "books:3"]
)
def test_killed_at_any_step_it_leaves_nothing_that_the_next_run_does_not_mend(
    database_url: str, folder: Archive, step: str
) -> None:
    owners, samples = organizations(database_url), everything(2)
    written(database_url, samples, owners)
    killed = subprocess.run(
        [sys.executable, "-m", "tests.integration.archive_process", database_url, str(folder.folder), step],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert killed.returncode == -9, killed.stderr
    left = "select count(*) from pg_stat_activity where application_name = 'streamgauge archive' and datname = current_database()"
    wait_until(lambda: not scalar(database_url, left), "the dead process's connection to end")
    for path, number in rows(database_url, "select path, bytes from store.archived_file"):
        assert (folder.folder / path).stat().st_size == number
    archived(database_url, folder)
    for kind in KINDS:
        assert len(archived_rows(database_url, folder, kind)) == count(database_url, kind) == 12
    books = {path for (path,) in rows(database_url, "select path from store.archived_file")}
    there = {str(place.relative_to(folder.folder)) for place in folder.folder.rglob("*") if place.is_file()}
    assert there == {*books, MARK}


@contextmanager
def frozen_and_cut_off(url: str, folder: Archive, step: str) -> Iterator[None]:
    """A process that archives stands still at a step and has lost its connection; behind the block it goes on, and must fail."""
    command = [sys.executable, "-m", "tests.integration.archive_process", url, str(folder.folder), step]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as frozen:
        try:
            assert os.WIFSTOPPED(os.waitpid(frozen.pid, os.WUNTRACED)[1])
            ended = (
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where application_name = 'streamgauge archive' and datname = current_database()"
            )
            scalar(url, ended)
            wait_until(lambda: not scalar(url, ended), "the frozen one's connection to end")
            yield
            frozen.send_signal(signal.SIGCONT)
            assert frozen.wait(60) == 1
        finally:
            frozen.kill()


@pytest.mark.parametrize("step", ["publish:1:freeze", "read_back:1:freeze", "mend:1:freeze"])
async def test_who_was_frozen_and_lost_the_lock_takes_no_file_of_who_archived_meanwhile(
    database_url: str, database: Database, folder: Archive, step: str
) -> None:
    owners = organizations(database_url, 1)
    written(database_url, [system(name, time=START.isoformat()) for name in ("a", "b")], owners)
    with frozen_and_cut_off(database_url, folder, step):
        archived(database_url, folder)
        assert await dropped(database, folder) == 1
    assert len(archived_rows(database_url, folder, "system")) == 2
    assert found_differences(database_url, archive=folder) == []


def test_a_full_disk_drops_nothing_and_is_told(database_url: str, folder: Archive) -> None:
    owners = organizations(database_url, 1)
    # Texts that do not compress: too large for the disk.
    chance = random.Random(6)
    samples = [system(f"{n}-{chance.getrandbits(400):x}", host=f"{chance.getrandbits(100):x}") for n in range(400)]
    written(database_url, samples, owners)
    failed = subprocess.run(
        [sys.executable, "-m", "tests.integration.archive_process", database_url, str(folder.folder), "full"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "system events of 2026-03-28 cannot be archived: " in failed.stdout
    assert "too large" in failed.stdout.lower()
    assert scalar(database_url, "select count(*) from store.archived_day") == 0
    assert [place.name for place in folder.folder.rglob("*") if place.is_file()] == [MARK]
    assert archived(database_url, folder).rows == 400


@pytest.mark.parametrize("how", ["missing", "shorter", "another byte"])
async def test_a_damaged_file_is_refused_by_name_and_nothing_is_dropped_on_its_word(
    database_url: str, database: Database, folder: Archive, how: str
) -> None:
    owners = organizations(database_url, 1)
    written(database_url, [system("a", time=START.isoformat()), system("b", time=(START + DAY).isoformat())], owners)
    archived(database_url, folder)
    path = scalar(database_url, "select path from store.archived_file order by day limit 1")
    place, whole = folder.folder / path, (folder.folder / path).read_bytes()

    def damage() -> None:
        if how == "missing":
            place.unlink()
        else:
            place.write_bytes(whole[:-1] if how == "shorter" else whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])

    damage()
    with capture_logs() as logs:
        assert await drop_raw_days(database, BEFORE, folder) == (1, ["system"])
    assert [(log["event"], log["day"]) for log in logs] == [("day_not_dropped", "2026-03-28")]
    assert path in logs[0]["reason"]
    place.write_bytes(whole)
    assert await dropped(database, folder) == 1
    before = rollup_rows(database_url, owners)
    damage()
    for recomputed in (verify, rebuild):
        with pytest.raises(ArchiveDamaged, match=rf"{path} \(system events of 2026-03-28\)"):
            list(recomputed(database_url, ROLLUPS, None, None, lambda *_: None, folder) or ())  # type: ignore[call-overload]
    assert rollup_rows(database_url, owners) == before
    # The other day needs no such file.
    assert list(verify(database_url, ROLLUPS, START + DAY, None, lambda *_: None, folder)) == []


def test_a_damaged_file_holds_no_other_day_up(database_url: str, folder: Archive) -> None:
    owners = organizations(database_url, 1)
    written(database_url, [system("a", time=START.isoformat())], owners)
    archived(database_url, folder)
    assert folder.folder.stat().st_mode & 0o007 == 0
    (place,) = folder.folder.rglob("*.parquet")
    place.write_bytes(b"?")
    late = [system("late", time=START.isoformat()), system("b", time=(START + DAY).isoformat())]
    written(database_url, late, owners)
    found = archive_days(database_url, folder, BEFORE)
    assert (found.days, found.rows, found.waiting) == (1, 1, (("system", START.date()),))
    assert found.problem is not None
    assert place.name in found.problem


async def test_a_folder_that_is_another_one_is_not_written_to(
    database_url: str, folder: Archive, tmp_path: Path
) -> None:
    owners = organizations(database_url, 1)
    written(database_url, [system("a", time=START.isoformat())], owners)
    archived(database_url, folder)
    written(database_url, [system("b", time=START.isoformat())], owners)
    empty = Archive(tmp_path / "unmounted")
    found = archive_days(database_url, empty, BEFORE)
    assert found.problem is not None
    assert "is it mounted?" in found.problem
    assert not empty.folder.exists()
    (folder.folder / MARK).write_text("00000000-0000-0000-0000-000000000000\n")
    with pytest.raises(ArchiveUnavailable, match="that of another database"):
        folder.enter(UUID(int=1), holds_files=True)
