"""Rows of a file gathered into batches of encoded events, without those that the server holds already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from ingest.collectors.client import BATCH_BYTES, BATCH_EVENTS
from ingest.collectors.importers.lines import Lines
from ingest.collectors.importers.row import BadRow, Importer, Row

_SKIPPED_AT_ONCE = 20_000


class RejectedRow(msgspec.Struct, frozen=True):
    """A row that became no event: its number, the line it begins at, why, and its text (the first 2,000 characters)."""

    row: int
    line: int
    error: str
    text: str


class RowBatch(msgspec.Struct):
    """Some consecutive rows: events to send with the rows they came from, rows that are no events, rows that are there already.

    `rows_done` and `bytes_done` say how far the file was read.
    """

    events: list[msgspec.Raw] = []
    rows: list[Row] = []
    rejected: list[RejectedRow] = []
    skipped: int = 0
    rows_done: int = 0
    bytes_done: int = 0


def gather(
    importer: Importer, rows: Iterator[Row], lines: Lines, *, source: str, held: Mapping[str, int]
) -> Iterator[RowBatch]:
    """Yields batches of at most 1,000 events. `held` is the highest sequence that the server holds of each kind, 0 for none."""
    batch = RowBatch()
    size = 0
    least = min(held.values(), default=0)
    for row in rows:
        batch.rows_done = row.number
        if row.number <= least:
            batch.skipped += 1
        else:
            size += _add(batch, importer, row, source=source, held=held)
        full = len(batch.events) >= BATCH_EVENTS or size >= BATCH_BYTES
        if full or len(batch.rejected) >= BATCH_EVENTS or batch.skipped >= _SKIPPED_AT_ONCE:
            batch.bytes_done = lines.position
            yield batch
            batch, size = RowBatch(rows_done=row.number), 0
    batch.bytes_done = lines.position
    yield batch


def _add(batch: RowBatch, importer: Importer, row: Row, *, source: str, held: Mapping[str, int]) -> int:
    """Adds a row to the batch and returns the size of its event in bytes."""
    try:
        if row.problem is not None:
            raise BadRow(row.problem)
        if row.number <= held[importer.kind(row)]:
            batch.skipped += 1
            return 0
        event = importer.event(row)
    except BadRow as error:
        batch.rejected.append(RejectedRow(row.number, row.line, str(error), row.text))
        return 0
    event |= {"specversion": "1.0", "id": str(row.number), "source": source, "sequence": row.number}
    encoded = msgspec.json.encode(event)
    batch.events.append(msgspec.Raw(encoded))
    batch.rows.append(row._replace(fields=None))
    return len(encoded)
