"""The spool: events that wait for a server that is away, in memory and, where wanted, in a file that outlives the collector."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import msgspec
import structlog

from ingest.events import AnyEvent, Event

_log = structlog.get_logger(__name__)
_decoder = msgspec.json.Decoder(AnyEvent)


class Spool:
    """A bounded queue of events in order. Where it is full, the oldest are dropped: counted in `dropped` and logged.

    With a `file` every event is also appended to it, as NDJSON, before `put` returns, and a later spool on the same file begins
    with what it holds. The file is emptied when the queue runs empty; after a crash it may hold events that were sent already,
    which the server knows by their sequence. It is handed to the operating system but not forced to the disk: it survives the end
    of the process, not a power failure. Where the disk fails, that is logged and the events wait in memory alone.
    """

    def __init__(self, *, max_events: int, file: Path | None = None) -> None:
        self._waiting: deque[Event] = deque()
        self._max_events = max_events
        self._file = file
        self._lines = 0
        self._disk_failed = False
        self._report_after = 1
        self.dropped = 0
        if file is not None and file.exists():
            self._load(file)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, events: Iterable[Event]) -> None:
        """Adds events at the end."""
        fresh = list(events)
        self._waiting.extend(fresh)
        self._bound()
        self._store(fresh)

    def first(self, count: int) -> list[Event]:
        """Returns the oldest events, at most `count`, and leaves them where they are."""
        return list(islice(self._waiting, count))

    def remove(self, events: list[Event]) -> None:
        """Takes away events that `first` gave and that were sent; those that were dropped meanwhile are gone already."""
        sent = {id(event) for event in events}
        while self._waiting and id(self._waiting[0]) in sent:
            self._waiting.popleft()
        if not self._waiting:
            self._report_after = 1
            self._store([])

    def _bound(self) -> None:
        excess = len(self._waiting) - self._max_events
        if excess <= 0:
            return
        for _ in range(excess):
            self._waiting.popleft()
        self.dropped += excess
        self._report_after -= excess
        if self._report_after <= 0:
            # The log tells of the first loss and of each doubling, so that a long outage is loud and still readable.
            _log.error("spool_full", dropped=self.dropped, waiting=len(self._waiting), limit=self._max_events)
            self._report_after = self.dropped

    def _store(self, fresh: list[Event]) -> None:
        """Brings the file up to date: appends, empties, or, where it has grown to twice what waits, writes it anew."""
        if self._file is None:
            return
        try:
            if not self._waiting:
                if self._lines:
                    os.truncate(self._file, 0)
                self._lines = 0
            elif self._disk_failed or self._lines + len(fresh) > 2 * max(len(self._waiting), 1_000):
                self._rewrite(self._file)
            else:
                with self._file.open("ab") as out:
                    out.write(b"".join(msgspec.json.encode(event) + b"\n" for event in fresh))
                self._lines += len(fresh)
        except OSError as error:
            if not self._disk_failed:
                _log.error("spool_file_failed", file=str(self._file), problem=str(error))
            self._disk_failed = True
        else:
            self._disk_failed = False

    def _load(self, file: Path) -> None:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    self._waiting.append(_decoder.decode(line))
                except msgspec.DecodeError as error:
                    # The last line is torn where the collector was killed while writing it.
                    self.dropped += 1
                    _log.error("spool_line_unreadable", file=str(file), line=number, problem=str(error))
        self._bound()
        self._rewrite(file)

    def _rewrite(self, file: Path) -> None:
        """Replaces the file in one step by what waits."""
        fresh = file.with_name(file.name + ".new")
        with fresh.open("wb") as out:
            out.writelines(msgspec.json.encode(event) + b"\n" for event in self._waiting)
        fresh.replace(file)
        self._lines = len(self._waiting)
