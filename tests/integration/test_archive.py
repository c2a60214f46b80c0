"""The archive: every value of every event survives, whatever dies meanwhile; what is in it is read as if it were in the table."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from psycopg.sql import SQL, Identifier
from structlog.testing import capture_logs

from aggregators.definitions import ROLLUPS
from aggregators.frames import COLUMNS, MONEY, TIME
from storage.archive import MARK, Archive, ArchiveDamaged, ArchiveUnavailable
from storage.archive_columns import archived_columns
from storage.archive_write import ArchiveRun, archive_days
from storage.database import JOBS_ROLE, Database, StorageUnavailable, connect
from storage.raw_days import drop_raw_days
from storage.recompute import rebuild, verify
from storage.sink import DatabaseSink
from tests.integration.archive_process import STEPS
from tests.integration.stored import (
    KINDS,
    count,
    found_differences,
    organizations,
    reaction_rows,
    rollup_rows,
    rows,
    run,
    scalar,
)
from tests.one_pass import differences, one_pass, reactions
from tests.samples import START, Sample, batches, enterprise, sample_lists, system, trade, view
from tests.service_process import ROOT, wait_until

BEFORE = dt.date(2026, 4, 1)
"""A date after every event of the samples."""

DAY = dt.timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> Archive:
    """An empty archive, in a folder whose name duckdb would take for a pattern, and for the end of a text."""
    return Archive(tmp_path / "it's [a] *?")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool over the test's database."""
    pool = Database(database_url)
    await pool.open()
    yield pool
    await pool.close()


def written(url: str, samples: list[Sample], owners: list[UUID]) -> None:
    """The samples through a sink."""
    sink = DatabaseSink(url, ROLLUPS)
    sink.write(batches(samples, owners))
    sink.close()


def everything(days: int = 3) -> list[Sample]:
    """Events of every kind by two organizations, on days that follow each other."""
    samples: list[Sample] = []
    for day in range(days):
        time = START + day * DAY
        for owner in range(2):
            for number in range(3):
                name, moment = f"{day}-{owner}-{number}", time + dt.timedelta(minutes=number)
                samples += [
                    system(name, number + 0.5, organization=owner, time=moment.isoformat()),
                    enterprise(name, f"{number}.25", organization=owner).again(time=moment.isoformat()),
                    trade(name, f"-{number}.5", organization=owner, closed_at=moment.isoformat()),
                    view(name, "like", organization=owner, time=moment, user_id=name, video_id=f"v{owner}"),
                ]
    return samples


def raw_rows(url: str, kind: str) -> list[tuple[Any, ...]]:
    """Every row of a raw table; times as microseconds, JSON as text."""
    columns = SQL(", ").join(
        SQL("(extract(epoch from {}) * 1000000)::bigint").format(Identifier(name))
        if dtype == TIME
        else SQL("{}::text").format(Identifier(name))
        if name == "metrics"
        else Identifier(name)
        for name, dtype in archived_columns(kind).items()
    )
    return sorted(rows(url, SQL("select {} from {}").format(columns, Identifier("store", f"event_{kind}"))), key=repr)


def archived_rows(url: str, archive: Archive, kind: str) -> list[tuple[Any, ...]]:
    """Every row of a kind in the files that the books name, each read alone; in the same shape."""
    columns = ", ".join(
        f"epoch_us({name})" if dtype == TIME else f'"{name}"' for name, dtype in archived_columns(kind).items()
    )
    found: list[tuple[Any, ...]] = []
    books = rows(url, "select organization, path, rows from store.archived_file where kind = %s", (kind,))
    for owner, path, number in books:
        with duckdb.connect() as duck:
            escaped = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(archive.folder / path))
            read = duck.execute(f"select {columns} from read_parquet($1)", [[escaped]]).fetchall()
        assert {row[0] for row in read} == {owner}
        assert len(read) == number
        found += read
    return sorted((tuple(map(plain, row)) for row in found), key=repr)


def plain(value: Any) -> Any:
    """A decimal without the zeros at its end, which say nothing."""
    return (
        Decimal(f"{value:f}".rstrip("0").rstrip("."))
        if isinstance(value, Decimal) and value % 1
        else (Decimal(int(value)) if isinstance(value, Decimal) else value)
    )


def archived(url: str, archive: Archive) -> ArchiveRun:
    """Archives everything, which must do."""
    found = archive_days(url, archive, BEFORE)
    assert found.problem is None
    assert found.waiting == ()
    return found


async def dropped(database: Database, archive: Archive) -> int:
    """Drops all that is archived; how many days of a kind that was."""
    number, kept = await drop_raw_days(database, BEFORE, archive)
    assert kept == []
    return number


def test_every_column_of_random_events_survives_exactly(database_url: str, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")

    @given(samples=sample_lists(numbered=True))
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    def check(samples: list[Sample]) -> None:
        written(database_url, samples, organizations(database_url))
        archived(database_url, archive)
        for kind in KINDS:
            stored = [tuple(map(plain, row)) for row in raw_rows(database_url, kind)]
            assert archived_rows(database_url, archive, kind) == sorted(stored, key=repr)

    check()


def test_types_in_the_files_are_the_ones_that_others_expect(database_url: str, folder: Archive) -> None:
    written(database_url, everything(1), organizations(database_url))
    archived(database_url, folder)
    for kind in KINDS:
        path = scalar(database_url, f"select min(path) from store.archived_file where kind = '{kind}'")
        (place,) = [found for found in folder.folder.rglob("*.parquet") if str(found).endswith(path)]
        copy = place.rename(folder.folder.parent / f"{kind}.parquet")
        with duckdb.connect() as duck:
            types = {name: kind_ for name, kind_, *_ in duck.execute(f"describe from '{copy}'").fetchall()}
            compression = duck.execute(f"select distinct compression from parquet_metadata('{copy}')").fetchall()
        assert compression == [("ZSTD",)]
        assert (types["organization"], types["time"], types["batch"]) == ("UUID", "TIMESTAMP WITH TIME ZONE", "BIGINT")
        amounts = {name for name, dtype in COLUMNS[kind].items() if dtype == MONEY}
        assert {name for name, kind_ in types.items() if kind_ == "DECIMAL(38,18)"} == amounts


async def test_archived_and_dropped_days_are_verified_and_rebuilt_as_if_they_were_there(
    database_url: str, database: Database, folder: Archive
) -> None:
    owners, samples = organizations(database_url), everything()
    written(database_url, samples, owners)
    before = rollup_rows(database_url, owners)
    assert archived(database_url, folder).days == 12
    assert archived(database_url, folder).days == 0
    assert found_differences(database_url, folder) == []
    assert await dropped(database, folder) == 12
    assert [count(database_url, kind) for kind in KINDS] == [0] * 4
    assert list(verify(database_url, ROLLUPS, START - DAY, START + 5 * DAY, lambda *_: None, folder)) == []
    assert found_differences(database_url, folder) == []

    run(database_url, "update store.rollup_trade_pnl_1d set trades = trades + 1", "delete from store.video_reaction")
    run(database_url, "delete from store.rollup_system_metrics_1m", 'delete from "store"."rollup_system_metrics_15m"')
    assert len(found_differences(database_url, folder)) > 12
    rebuild(database_url, ROLLUPS, None, None, lambda *_: None, folder)
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
    assert rollup_rows(database_url, owners) == before
    assert reaction_rows(database_url, owners) == reactions(samples, owners)
    assert found_differences(database_url, folder) == []


async def test_a_day_of_many_pieces_is_one_file(
    database_url: str, database: Database, folder: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("archive_write", "raw_events"):
        monkeypatch.setattr(f"storage.{module}.PIECE", 2_048)
    owners = organizations(database_url)
    samples = [
        system(f"e{n}", n / 8, time=(START + n * dt.timedelta(seconds=1)).isoformat(), organization=n % 3 // 2)
        for n in range(6_000)
    ]
    written(database_url, samples, owners)
    assert archived(database_url, folder).files == 2
    stored = [tuple(map(plain, row)) for row in raw_rows(database_url, "system")]
    assert archived_rows(database_url, folder, "system") == sorted(stored, key=repr)
    assert await dropped(database, folder) == 1
    assert found_differences(database_url, folder) == []
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []


async def test_a_late_event_of_an_archived_day_is_appended(
    database_url: str, database: Database, folder: Archive
) -> None:
    owners, samples = organizations(database_url), everything(2)
    written(database_url, samples, owners)
    archived(database_url, folder)
    first = {path: path.read_bytes() for path in folder.folder.rglob("*.parquet")}
    # Before the day is dropped, and behind it.
    for number, left in ((0, None), (1, 1)):
        late = system(f"late-{number}", 9.0, time=(START + dt.timedelta(hours=1)).isoformat(), organization=1)
        written(database_url, [late], owners)
        samples.append(late)
        assert left is None or count(database_url, "system") == left
        assert found_differences(database_url, folder) == []
        found = archived(database_url, folder)
        assert (found.days, found.files, found.rows) == (1, 1, 1)
        await dropped(database, folder)
        assert found_differences(database_url, folder) == []
    assert {path: path.read_bytes() for path in first} == first
    books = (
        "select (rows, dropped_rows, files)::text from store.archived_day where kind = 'system' order by day limit 1"
    )
    assert scalar(database_url, books) == "(8,8,4)"
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []


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


async def test_who_reads_both_places_is_not_passed_by_a_drop(
    database_url: str, database: Database, folder: Archive
) -> None:
    (owner,) = organizations(database_url, 1)
    written(database_url, [system("a", time=START.isoformat())], [owner])
    archived(database_url, folder)
    async with database.read_raw(owner) as reading:
        with pytest.raises(StorageUnavailable, match="LockNotAvailable"):
            await drop_raw_days(database, BEFORE, folder)
        found = await (await reading.execute("select count(*) from app.event_system")).fetchone()
        assert found == (1,)
    assert count(database_url, "system") == 1
    assert scalar(database_url, "select count(*) from store.archived_file where dropped_at is not null") == 0
    assert await dropped(database, folder) == 1


def test_one_process_archives_at_a_time(database_url: str, folder: Archive) -> None:
    written(database_url, [system("a", time=START.isoformat())], organizations(database_url, 1))
    with connect(database_url, name="test", role=JOBS_ROLE) as other:
        other.execute("select pg_advisory_lock(731005, 0)")
        assert archive_days(database_url, folder, BEFORE).elsewhere
    assert archived(database_url, folder).days == 1


def test_a_stop_ends_a_run_between_pieces(database_url: str, folder: Archive) -> None:
    written(database_url, everything(1), organizations(database_url, 2))
    found = archive_days(database_url, folder, BEFORE, stop=lambda: True)
    assert (found.stopped, found.days, len(found.waiting)) == (True, 0, 4)
    assert archived(database_url, folder).days == 4
