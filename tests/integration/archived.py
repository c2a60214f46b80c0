"""The archive as tests see it: events to write to it, what the raw tables hold, and what its files hold."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from psycopg.sql import SQL, Identifier

from aggregators.definitions import ROLLUPS
from aggregators.frames import TIME
from storage.archive import Archive
from storage.archive_columns import archived_columns
from storage.archive_write import ArchiveRun, archive_days
from storage.database import Database
from storage.raw_days import drop_raw_days
from storage.sink import DatabaseSink
from tests.integration.stored import rows
from tests.samples import START, Sample, batches, enterprise, system, trade, view

BEFORE = dt.date(2026, 4, 1)
"""A date after every event of the samples."""
DAY = dt.timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> Archive:
    """An empty archive, in a folder whose name duckdb would take for a pattern, and for the end of a text."""
    return Archive(tmp_path / "it's [a] *?")


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
