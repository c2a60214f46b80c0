"""A row of a file, the shape every format reads it into, and the three ways in which an import can go wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from ingest.collectors.importers.lines import Lines, LineTooLong


class ImportFault(Exception):
    """The import cannot go on; the message says what to do."""


class FileFault(ImportFault):
    """The file as a whole cannot be imported: missing, empty, cut off, in another encoding, without a needed column."""


class BadMapping(ImportFault):
    """A `--map` or `--type` that does not fit the file or the kind of event."""


class BadRow(ValueError):
    """One row cannot become an event; it is rejected and its neighbours are not touched."""


class Row(NamedTuple):
    """One data row. `number` counts data rows from 1, `line` is where it begins in the file, `text` the row as it stands there.

    `problem` says why it could not even be split into `fields`.
    """

    number: int
    line: int
    text: str
    fields: Any = None
    problem: str | None = None


class Job(msgspec.Struct, frozen=True):
    """What a format needs to know of one import."""

    path: Path
    digest: str
    mapping: Mapping[str, str]
    kind: str | None

    @property
    def stem(self) -> str:
        """The file's name without its endings: `cpu` of `cpu.csv.gz`."""
        name = self.path.name.removesuffix(".gz")
        return Path(name).stem or name


class Importer(Protocol):
    """Turns the rows of one file into events."""

    kinds: tuple[str, ...]
    """The kinds of events that the file may hold."""

    notes: Counter[str]
    """What was done to how many rows that their sender should know, such as rounding."""

    def rows(self, lines: Lines) -> Iterator[Row]:
        """Splits the file into rows, cheaply: many may be skipped. Raises FileFault where a needed column is missing."""

    def kind(self, row: Row) -> str:
        """Returns the kind of event that the row is. Raises BadRow."""

    def event(self, row: Row) -> dict[str, Any]:
        """Returns the row's `type`, `time` and `data`. Raises BadRow."""


def line_rows(lines: Lines) -> Iterator[Row]:
    """Yields every line as a row; blank ones are passed over and not counted. `fields` is the line."""
    number = 0
    while True:
        lines.begin()
        problem = None
        line = ""
        try:
            line = next(lines)
        except StopIteration:
            return
        except LineTooLong as error:
            problem = str(error)
        if problem is None and not line.strip():
            continue
        number += 1
        yield Row(number, lines.first, lines.text, line, problem)
