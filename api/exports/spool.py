"""An export that is made before it is sent: first its rows, in files of some thousand, then the table that they make.

What a column needs (digits of a decimal, a second column in a workbook) is known once all rows were seen. Nothing here is for
the event loop.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from api.exports.bounds import WorkbookWriter
from api.exports.folders import NoRoom
from storage.rollup_stream import StreamColumn

_PART = 20_000
"""Rows a file."""
_AT_ONCE = 500
"""Rows that become Python values at once, which is done without letting go of Python's lock: some milliseconds."""
_MOST_DIGITS = 38
"""A DECIMAL of Parquet holds so many."""
_USUAL_SCALE = 18
"""Decimal places of an amount: more are never asked for, and the type stays the same from one export to the next."""
_CELL_DIGITS = 15
"""A cell shows so many; where one has more, the exact text stands beside it, as in the workbooks of reports."""

_TYPES: dict[str, Any] = {
    "time": pl.Datetime("us", "UTC"),
    "text": pl.String,
    "integer": pl.Int64,
    "decimal": pl.String,
    "float": pl.Float64,
}


@dataclass
class Digits:
    """The most digits of a column's numbers: before the point, behind it, and significant ones."""

    whole: int = 0
    places: int = 0
    significant: int = 0

    def see(self, text: str) -> None:
        """Notes a number."""
        whole, _, places = text.lstrip("-").partition(".")
        self.whole = max(self.whole, len(whole.lstrip("0")))
        self.places = max(self.places, len(places))
        self.significant = max(self.significant, len((whole + places).strip("0")))

    def parquet_type(self) -> Any:
        """The decimal type that loses nothing; text where there is none."""
        for scale in (max(_USUAL_SCALE, self.places), self.places):
            if self.whole + scale <= _MOST_DIGITS:
                return pl.Decimal(_MOST_DIGITS, scale)
        return pl.String


class RowFiles:
    """The rows of one export in a folder. `size` is what they take of it, in bytes."""

    def __init__(self, folder: Path, columns: Sequence[StreamColumn]) -> None:
        self._folder = folder
        self._columns = columns
        self._schema = {column.name: _TYPES[column.kind] for column in columns}
        self._digits = {column.name: Digits() for column in columns if column.kind in ("decimal", "integer")}
        self._waiting: list[pl.DataFrame] = []
        self._parts: list[Path] = []
        self.rows = 0
        self.size = 0
        self._looked = 0

    def add(self, rows: list[list[Any]]) -> None:
        """Takes rows in, with times as moments."""
        for place, column in enumerate(self._columns):
            if (digits := self._digits.get(column.name)) is None:
                continue
            for row in rows:
                if row[place] is not None:
                    # A whole amount comes as an integer, which "f" would write by way of a binary float.
                    text = format(row[place], "f") if isinstance(row[place], Decimal) else str(row[place])
                    digits.see(text)
                    if column.kind == "decimal":
                        row[place] = text
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(self._columns)
        named = {column.name: values for column, values in zip(self._columns, columns, strict=True)}
        self._waiting.append(pl.DataFrame(named, schema=self._schema))
        self.rows += len(rows)
        if sum(frame.height for frame in self._waiting) >= _PART:
            self._write()

    def _write(self) -> None:
        part = self._folder / f"{len(self._parts):08}.arrow"
        pl.concat(self._waiting).write_ipc(part, compression="lz4")
        self._waiting = []
        self._parts.append(part)
        self.size += part.stat().st_size

    def require_room(self, spare: int) -> None:
        """Raises NoRoom where the disk has no room for as much again as there is by now, and some to spare."""
        if self.size > self._looked:
            self._looked = self.size
            if shutil.disk_usage(self._folder).free < self.size + spare:
                raise NoRoom

    def _all(self) -> list[Path]:
        """The files with every row; an answer without rows has one that tells the columns."""
        if not self._waiting and not self._parts:
            self.add([])
        if self._waiting:
            self._write()
        return self._parts

    def parquet(self, place: Path) -> None:
        """Writes all of it as Parquet. Polars goes through the files in turn, and lets go of Python's lock."""
        types = [
            pl.col(column.name).cast(self._digits[column.name].parquet_type())
            for column in self._columns
            if column.kind == "decimal"
        ]
        pl.scan_ipc(self._all()).with_columns(types).sink_parquet(place, compression="zstd", row_group_size=100_000)

    def csv(
        self, place: Path, encode: Callable[[list[list[Any]]], bytes], tz: ZoneInfo, given_up: Callable[[], bool]
    ) -> None:
        """Writes all of it as CSV, as `encode` makes it of the header and of rows with times in the zone; less where it is `given_up`."""
        with place.open("wb") as file:
            file.write(encode([[column.name for column in self._columns]]))
            for rows in self._read(tz):
                if given_up():
                    return
                file.write(encode([list(map(_plain, self._columns, row)) for row in rows]))

    def workbook(
        self, place: Path, write: WorkbookWriter, title: str, tz: ZoneInfo, given_up: Callable[[], bool]
    ) -> None:
        """Has all of it written as a sheet: beside a time its text with the offset, and beside long numbers their exact texts."""
        columns = []
        for column in self._columns:
            digits = self._digits.get(column.name)
            long = digits is not None and digits.significant > _CELL_DIGITS
            columns.append((column.name, str(column.kind), long or column.kind == "time"))
        write(place, title, columns, self._all(), tz.key, given_up)

    def _read(self, tz: ZoneInfo) -> Iterator[list[list[Any]]]:
        local = self._columns[:1] and self._columns[0].kind == "time"
        for part in self._all():
            for piece in pl.read_ipc(part).iter_slices(_AT_ONCE):
                rows = [list(row) for row in piece.rows()]
                if local:
                    for row in rows:
                        row[0] = row[0].astimezone(tz)
                yield rows


def _plain(column: StreamColumn, value: Any) -> Any:
    """The value as a query has it."""
    if value is None:
        return None
    return value.isoformat() if column.kind == "time" else Decimal(value) if column.kind == "decimal" else value


def digest_of(place: Path) -> bytes:
    """The SHA-256 of a file."""
    with place.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
