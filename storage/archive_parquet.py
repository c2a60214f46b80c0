"""One Parquet file: written piece by piece under another name, made durable, renamed and read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from storage.archive import ArchiveUnavailable, duck, escaped, sha256_of, sync
from storage.archive_columns import file_summary


@dataclass(frozen=True)
class RowSummary:
    """How many rows there are, and the two sums of their hashes (storage.archive_columns)."""

    count: int
    sums: tuple[str, str]


class ParquetFile:
    """A file that is being written. Its pieces lie beside it until they are put together; all of them have `.part` in their names."""

    def __init__(self, place: Path, kind: str) -> None:
        self._place = place
        self._part = place.with_name(f"{place.name}.part")
        self._kind = kind
        self._pieces: list[Path] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Writes some rows, which come behind those that were added before."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        piece = self._place.with_name(f"{self._place.name}.part-{len(self._pieces):06}")
        self._pieces.append(piece)
        frame.write_parquet(piece, compression="lz4")

    def finish(self, expected: RowSummary, *, row_group: int, root: Path) -> tuple[int, str]:
        """Puts the pieces together and reads the file back; returns its size in bytes and its SHA-256.

        Raises ArchiveUnavailable where it does not hold exactly the rows that the database has; then there is no file.
        """
        try:
            part = self._join(row_group)
            self._publish(part, root)
            found = summary(self._place, self._kind)
            if found != expected:
                raise ArchiveUnavailable(
                    f"{self._place.name} holds other rows than the database: {found.count} of {expected.count}, or with other values"
                )
        except BaseException:
            self._place.unlink(missing_ok=True)
            raise
        return self._place.stat().st_size, sha256_of(self._place)

    def clear(self) -> None:
        """Removes the pieces, whatever became of the file."""
        for left in (*self._pieces, self._part):
            left.unlink(missing_ok=True)

    def _join(self, row_group: int) -> Path:
        part = self._part
        with duck() as connection:
            rows = connection.sql(
                "select organization::uuid as organization, * exclude organization from read_parquet($1)",
                params=[[escaped(piece) for piece in self._pieces]],
            )
            rows.write_parquet(str(part), compression="zstd", row_group_size=row_group)
            del rows
        sync(part)
        return part

    def _publish(self, part: Path, root: Path) -> None:
        """Gives the file its name, and makes that durable with every folder above it."""
        part.replace(self._place)
        folder = self._place.parent
        while True:
            sync(folder)
            if folder == root:
                return
            folder = folder.parent


def summary(place: Path, kind: str) -> RowSummary:
    """What a file holds, read from its values."""
    with duck() as connection:
        row = connection.execute(file_summary(kind), [[escaped(place)]]).fetchone()
    assert row is not None
    return RowSummary(row[0], (row[1], row[2]))
