"""`--as csv`: any delimited text with a header, by `--type KIND` and `--map field=column`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ingest.collectors.importers.delimited import header, records
from ingest.collectors.importers.lines import Lines
from ingest.collectors.importers.mapping import Origin
from ingest.collectors.importers.row import BadMapping, Job, Row
from ingest.collectors.importers.shape import Shape
from ingest.events import KINDS


def kind_of(job: Job, format_name: str) -> str:
    """Returns the kind of event that the user named. Raises BadMapping."""
    if job.kind not in KINDS:
        given = "is needed" if job.kind is None else f"{job.kind}: is no kind of event"
        raise BadMapping(f"--type {given}: {format_name} says nothing of its kind; expected {', '.join(KINDS)}")
    return job.kind


class TableImporter:
    """Rows of a delimited file with a header to events of one kind.

    A field is taken from the column of its name unless it is mapped. A `trade_id` that no column gives is the file's digest and
    the row's number.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self.kinds: tuple[str, ...] = (kind_of(job, "a table"),)
        self.notes: Counter[str] = Counter()
        self._names: list[str] = []
        self._shape: Shape | None = None

    def rows(self, lines: Lines) -> Iterator[Row]:
        """Reads the header and yields the rows behind it."""
        self._names, delimiter = header(lines, self._job)
        self._shape = self.shape([name for name in self._names if name])
        return records(lines, self._names, delimiter)

    def kind(self, row: Row) -> str:  # noqa: ARG002  (other formats tell it by the row)
        """All rows of a table are of one kind."""
        return self.kinds[0]

    def event(self, row: Row) -> dict[str, Any]:
        """Builds the event from the row's columns."""
        assert self._shape is not None, "the header has been read"
        return self._shape.event(self.named(dict(zip(self._names, row.fields, strict=True))), row.number)

    def shape(self, columns: Collection[str]) -> Shape:
        """Settles which column each field comes from. The formats that are CSV underneath put their own defaults here."""
        numbered = ("trade_id",) if self.kinds[0] == "trade" else ()
        return Shape(self.kinds[0], self._job, columns, defaults=self.defaults(), numbered=numbered)

    def defaults(self) -> Mapping[str, Origin]:
        """Where fields come from that are not mapped."""
        return {}

    def named(self, row: dict[str, str]) -> Mapping[str, str]:
        """Completes a row's texts before they are read."""
        return row
