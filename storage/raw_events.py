"""Raw events as frames, wherever they are: in the raw table, and of what was dropped from it in the archive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import polars as pl
from psycopg.sql import SQL, Identifier

from aggregators.frames import schema
from storage.archive import Archive, ArchivedFile, told
from storage.archive_columns import frame_of, selected
from storage.archive_write import PIECE
from storage.database import Conn
from storage.named import load
from storage.raw_days import DAY, RawEventsGone

_SQL = load("archive")


def share_gate(connection: Conn) -> None:
    """Until the transaction ends, no raw day is dropped. Before the snapshot that is read in: what was dropped before is seen then."""
    connection.execute("lock table store.archive_gate in access share mode")


def raw_frames(
    connection: Conn, kind: str, start: dt.datetime, end: dt.datetime, archive: Archive | None
) -> Iterator[pl.DataFrame]:
    """The raw events of a range of all organizations as frames of bounded size, in no order. In a transaction.

    Each file of the archive is verified before it is read. Raises ArchiveDamaged where one is not what was written, and RawEventsGone
    where there is no archive to read what was dropped from.
    """
    share_gate(connection)
    bounds = {"kind": kind, "first": start.date(), "last": (end + DAY).date()}
    found = (ArchivedFile(*row) for row in connection.execute(_SQL["files"], bounds).fetchall())
    files = [file for file in found if file.dropped and file.first_time < end and file.last_time >= start]
    if files and archive is None:
        raise RawEventsGone(kind, sorted({file.day for file in files}))
    types = schema(kind)
    statement = SQL("select {} from {} where time >= %s and time < %s").format(
        selected(types), Identifier("store", f"event_{kind}")
    )
    with connection.cursor(name="raw_events") as cursor:
        cursor.execute(statement, (start, end))
        while rows := cursor.fetchmany(PIECE):
            yield frame_of(types, rows)
    if archive is not None:
        for file in files:
            yield from archived_frames(archive, file, start, end)


def archived_frames(
    archive: Archive, file: ArchivedFile, start: dt.datetime, end: dt.datetime
) -> Iterator[pl.DataFrame]:
    """The events of a file that lie in a range, as frames of bounded size. Raises ArchiveDamaged, before the first one."""
    place = archive.checked(file)
    names = [name for name in schema(file.kind) if name != "organization"]
    owner = pl.lit(str(file.organization)).alias("organization")
    for first in range(0, file.rows, PIECE):
        with told(f"the archive's file {file.path}"):
            rows = pl.scan_parquet(place, glob=False).select(owner, *names).slice(first, PIECE)
            frame = rows.filter(pl.col("time") >= start, pl.col("time") < end).collect()
        if frame.height:
            yield frame
