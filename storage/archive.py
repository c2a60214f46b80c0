"""The archive's folder: where each file is, whose it is, and whether it is whole."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import duckdb
import polars as pl

from storage.database import StorageUnavailable

MARK = "streamgauge-archive"
"""The file that says whose archive a folder is: the identity that its database keeps."""

# Files of before there were attempts have no number of one.
_OURS = re.compile(r"[0-9]+-[0-9]+(?:-([0-9]+))?\.parquet(\.part.*)?")


class ArchiveUnavailable(StorageUnavailable):
    """The archive cannot be written or read now. Nothing is dropped, and nothing is answered without the events that are in it."""


class ArchiveDamaged(ArchiveUnavailable):
    """A file of the archive is missing or is not what was written; the message names it and its day."""

    def __init__(self, file: ArchivedFile, what: str) -> None:
        super().__init__(f"the archive's file {file.path} ({file.kind} events of {file.day.isoformat()}) {what}")
        self.file = file


@dataclass(frozen=True)
class ArchivedFile:
    """A file as the database has it. `path` is within the folder; `dropped`: its rows are no longer in the raw table.

    `first_time` and `last_time` are those of its earliest and its latest event.
    """

    organization: UUID
    kind: str
    day: dt.date
    path: str
    rows: int
    bytes: int
    sha256: str
    first_time: dt.datetime
    last_time: dt.datetime
    dropped: bool


class Archive:
    """A folder with a Parquet file for each organization, kind and UTC day: `kind/day/organization/first_batch-last_batch-attempt.parquet`.

    No two attempts at a day write the same file. Every machine that archives, recomputes or answers from raw events must have
    the same folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def enter(self, identity: UUID, *, holds_files: bool) -> None:
        """Makes sure that the folder is that of this database, before anything is written. Raises ArchiveUnavailable.

        One that should hold files and has no mark is not mounted, or is another folder: writing there would part the archive.
        """
        mark = self.folder / MARK
        try:
            found = mark.read_text("utf-8").strip() if mark.exists() else None
            if found is None and not holds_files:
                above = [place for place in self.folder.parents if not place.exists()]
                self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
                for place in {self.folder.parent, *(place.parent for place in above)}:
                    sync(place)
                written = mark.with_suffix(".part")
                written.write_text(f"{identity}\n", "utf-8")
                sync(written)
                written.replace(mark)
                sync(self.folder)
                return
        except OSError as error:
            raise ArchiveUnavailable(f"the archive's folder {self.folder}: {error.strerror or error}") from error
        if found is None:
            raise ArchiveUnavailable(f"the archive's folder {self.folder} has no file {MARK}: is it mounted?")
        if found != str(identity):
            raise ArchiveUnavailable(f"the archive's folder {self.folder} is that of another database, {found}")

    def day_folder(self, kind: str, day: dt.date) -> Path:
        """Where the files of a day are."""
        return self.folder / kind / day.isoformat()

    def checked(self, file: ArchivedFile) -> Path:
        """The place of a file that is byte for byte what was written. Raises ArchiveDamaged."""
        place = self.folder / file.path
        try:
            if place.stat().st_size != file.bytes:
                raise ArchiveDamaged(file, f"has {place.stat().st_size} bytes, {file.bytes} were written")
            if sha256_of(place) != file.sha256:
                raise ArchiveDamaged(file, "is damaged: its SHA-256 is another one")
        except FileNotFoundError:
            raise ArchiveDamaged(file, "is missing") from None
        except OSError as error:
            raise ArchiveDamaged(file, f"cannot be read: {error.strerror or error}") from error
        return place

    def mend(self, kind: str, day: dt.date, known: Collection[str], attempt: int) -> int:
        """Removes what earlier attempts at a day left in its folder: files that the database does not know. Returns how many.

        Those of later attempts stay: who was frozen here, and lost its lock meanwhile, does not know what others have written since.
        """
        removed = 0
        for place in sorted(self.day_folder(kind, day).glob("*/*")):
            ours = _OURS.fullmatch(place.name)
            if ours and int(ours[1] or 0) < attempt and str(place.relative_to(self.folder)) not in known:
                place.unlink()
                removed += 1
        return removed


def sha256_of(place: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(place: Path) -> None:
    """Returns once a file's bytes, or the names in a folder, are on the disk."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to duckdb that stays within bounds of memory, uses one core and fetches no extension from anywhere."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "threads": 1,
        "memory_limit": "512MB",
        "preserve_insertion_order": True,
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        yield connection


def escaped(place: Path) -> str:
    """A path as duckdb reads it where it would take some characters for a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", str(place))


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raises ArchiveUnavailable in place of what file system, duckdb and polars raise: a full disk, a folder that is away."""
    try:
        yield
    except (OSError, duckdb.Error, pl.exceptions.PolarsError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArchiveUnavailable(f"{what}: {reason}") from error
