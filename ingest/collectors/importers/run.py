"""An import from end to end: look at the file, ask where the server stands, send what is missing, say what became of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from ingest.collectors.client import Receipt, Sendable
from ingest.collectors.importers.batches import RejectedRow, RowBatch, gather
from ingest.collectors.importers.examination import Examined, examine
from ingest.collectors.importers.formats import ANY_ENCODING, FORMATS
from ingest.collectors.importers.lines import Lines
from ingest.collectors.importers.rejected_file import RejectedFile
from ingest.collectors.importers.row import BadMapping, FileFault, Job

SHOWN = 20
"""Rejected rows that the summary holds with their reasons; all are counted."""

OnProgress = Callable[[int, int | None, int, int], None]
"""Called with (rows done, rows in all, bytes done, bytes in all).

The rows in all are None while the file is looked through, and then estimated by its lines until the end is reached.
"""


class Server(Protocol):
    """What an import needs of the server. `ingest.collectors.client.Client` is one."""

    async def send(self, events: Sequence[Sendable]) -> Receipt:
        """Returns what was accepted and what was rejected."""

    async def sequence(self, kind: str, source: str) -> int | None:
        """Returns the highest sequence held of a source."""


class Summary(msgspec.Struct):
    """What became of a file: `rows` = `accepted` + `skipped` + `rejected`.

    `skipped` rows were imported before. `reasons` holds the first 20 rejected rows. `notes` says what was done to the values of
    how many rows on the way, such as rounding. `rejected_file` is where all rejected rows were written, if that was wanted and
    there are any.
    """

    rows: int = 0
    accepted: int = 0
    skipped: int = 0
    rejected: int = 0
    reasons: list[RejectedRow] = []
    rejected_file: Path | None = None
    notes: dict[str, int] = {}
    seconds: float = 0.0
    source: str = ""


def _silent(*_: object) -> None:
    """Tells nobody."""


async def import_file(
    path: Path,
    fmt: str,
    *,
    client: Server,
    mapping: Mapping[str, str],
    kind: str | None = None,
    on_progress: OnProgress = _silent,
    write_rejected: bool = False,
    monotonic: Callable[[], float] = time.monotonic,
) -> Summary:
    """Imports one file and returns what became of its rows.

    The events' source is `import/<SHA-256 of the file>` and their sequence and id the row's number, so the same file again, whole
    or after an interruption, counts nothing twice, and identical rows are different events. That holds whatever the mapping: rows
    that were imported with another one stay as they are.
    `write_rejected` writes every rejected row to `FILE.rejected.ndjson` beside the file.
    Raises FileFault or BadMapping before anything is sent, and the client's errors where the server refuses or stays away; what
    was sent by then is kept, and the same call goes on behind it.
    """
    started = monotonic()
    if fmt not in FORMATS:
        raise BadMapping(f"--as {fmt}: is no format; expected {', '.join(FORMATS)}")
    FORMATS[fmt](Job(path, "", mapping, kind))  # a misspelt option shows before a large file is read
    file = await examine(
        path, utf8=fmt not in ANY_ENCODING, on_bytes=lambda done, size: on_progress(0, None, done, size)
    )
    importer = FORMATS[fmt](Job(path, file.digest, mapping, kind))
    summary = Summary(source=f"import/{file.digest}")
    with Lines(path) as lines, RejectedFile(path if write_rejected else None) as rejected:
        rows = await asyncio.to_thread(importer.rows, lines)
        held = {one: await client.sequence(one, summary.source) or 0 for one in importer.kinds}
        batches = gather(importer, rows, lines, source=summary.source, held=held)
        # The next batch is read while the server works on this one, which stays the only one in flight.
        reading = asyncio.create_task(asyncio.to_thread(next, batches, None))
        try:
            while (batch := await reading) is not None:
                if not await asyncio.to_thread(file.unchanged):
                    raise FileFault(f"{path}: changed while it was imported; import it again")
                reading = asyncio.create_task(asyncio.to_thread(next, batches, None))
                await _send(batch, client, summary, rejected)
                on_progress(summary.rows, max(_estimate(fmt, file), summary.rows), batch.bytes_done, file.size)
        finally:
            await asyncio.gather(reading, return_exceptions=True)  # the thread must be done with the file
    on_progress(summary.rows, summary.rows, file.size, file.size)
    summary.rejected_file = rejected.path
    summary.notes = dict(importer.notes)
    summary.seconds = monotonic() - started
    return summary


def _estimate(fmt: str, file: Examined) -> int:
    """The rows that a file may hold: its lines, without the header of a table."""
    return file.lines - (fmt not in {"access-log", "ndjson"})


async def _send(batch: RowBatch, client: Server, summary: Summary, rejected: RejectedFile) -> None:
    """Sends one batch and enters its outcome."""
    receipt = await client.send(batch.events) if batch.events else Receipt(0)
    refused = [
        RejectedRow(batch.rows[one.index].number, batch.rows[one.index].line, one.error, batch.rows[one.index].text)
        for one in receipt.rejected
    ]
    bad = sorted(batch.rejected + refused, key=lambda one: one.row)
    summary.rows = batch.rows_done
    summary.accepted += receipt.accepted
    summary.skipped += batch.skipped
    summary.rejected += len(bad)
    summary.reasons += bad[: SHOWN - len(summary.reasons)]
    if bad:
        await asyncio.to_thread(rejected.write, bad, add=summary.skipped > 0)
