"""`--as ndjson`: a JSON object a line: CloudEvents, or with `--type KIND` plain objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any

import msgspec

from ingest.collectors.importers.lines import Lines
from ingest.collectors.importers.row import BadMapping, BadRow, Job, Row, line_rows
from ingest.collectors.importers.shape import Shape
from ingest.collectors.importers.table import kind_of
from ingest.events import KINDS

LOOKED_AT = 200
"""Lines in whose keys the columns of plain objects are looked for."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _CloudEvent(msgspec.Struct):
    specversion: str
    type: str
    time: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


_cloud_event = msgspec.json.Decoder(_CloudEvent)


class NdjsonImporter:
    """One event a line. Numbers keep every digit that they are written with.

    CloudEvents keep their type, time and data; source, id and sequence are the file's and the row's, as for every import.
    With a kind the lines are plain objects, whose keys are the columns of the mapping (those of the first 200 lines).
    """

    def __init__(self, job: Job) -> None:
        if job.mapping and job.kind is None:
            raise BadMapping(
                "--map is for plain objects, which need --type KIND too; CloudEvents are taken as they are"
            )
        self._job = job
        self._plain = job.kind is not None
        self.kinds: tuple[str, ...] = (kind_of(job, "ndjson"),) if self._plain else tuple(KINDS)
        self.notes: Counter[str] = Counter()
        self._shape: Shape | None = None

    def rows(self, lines: Lines) -> Iterator[Row]:
        """Every line is a row; blank ones are passed over and not counted."""
        rows = line_rows(lines)
        if not self._plain:
            return rows
        ahead = list(islice(rows, LOOKED_AT))
        columns: dict[str, None] = {}
        for row in ahead:
            if row.problem is None:
                try:
                    columns |= dict.fromkeys(_texts(row.fields))
                except BadRow:
                    continue  # it is rejected, with its reason, when its turn comes
        numbered = ("trade_id",) if self.kinds[0] == "trade" else ()
        self._shape = Shape(self.kinds[0], self._job, columns, numbered=numbered)
        return chain(ahead, rows)

    def kind(self, row: Row) -> str:
        """Returns the kind that the line names."""
        if self._plain:
            return self.kinds[0]
        return self._decode(row).type

    def event(self, row: Row) -> dict[str, Any]:
        """Passes a CloudEvent on, or builds one from a plain object."""
        if self._shape is not None:
            return self._shape.event(_texts(row.fields), row.number)
        found = self._decode(row)
        event: dict[str, Any] = {"type": found.type, "data": found.data}
        return event | {"time": found.time} if found.time is not None else event

    @staticmethod
    def _decode(row: Row) -> _CloudEvent:
        try:
            found = _cloud_event.decode(row.fields)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRow(f"is no CloudEvent: {error}") from None
        if found.specversion != "1.0":
            raise BadRow("specversion: expected 1.0")
        if found.type not in KINDS:
            raise BadRow(f"type: expected {', '.join(KINDS)}")
        return found


def _texts(line: str) -> Mapping[str, str]:
    """Reads an object as texts: strings as they are, null as empty, numbers digit for digit."""
    try:
        return {key: _text(bytes(raw)) for key, raw in _object.decode(line).items()}
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRow(f"is no JSON object: {error}") from None


def _text(raw: bytes) -> str:
    if raw.startswith(b'"'):
        return msgspec.json.decode(raw, type=str)
    return "" if raw == b"null" else raw.decode()
