"""What exports may take: how many at once, how long, how slow a reader, how much of the disk; and the threads that make them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from api.errors import Problem

WorkbookWriter = Callable[[Path, str, Sequence[tuple[str, str, bool]], Sequence[Path], str, Callable[[], bool]], None]
"""Writes a workbook of one sheet: where, its name; the columns (name, kind, whether its exact text stands beside it); Arrow files with the
rows; the zone of times; whether it is given up. It blocks."""

STOPPED = "the service stopped"
_LONGEST_STOP_S = 2.0


@dataclass(frozen=True)
class ExportBounds:
    """Of one process. `per_organization`: exports of one at once. `longest_s`: of one export, from its question to its last byte.

    `statement_s`: until its first rows are there. A reader is waited for `grace_s` at most, less where they took fewer than `least_rate`
    bytes a second so far. `spool_bytes`: of the disk, for one that is made before it is sent, which leaves `spare_bytes` to others.
    `sheet_rows`: of a workbook.
    """

    at_once: int = 4
    per_organization: int = 2
    longest_s: float = 900.0
    statement_s: float = 50.0
    grace_s: float = 30.0
    least_rate: int = 32_768
    spool_bytes: int = 4 * 1024**3
    spare_bytes: int = 256 * 1024**2
    sheet_rows: int = 1_048_575

    @property
    def silent_s(self) -> float:
        """For how long the database may hear nothing: as long as a reader may be waited for, and some more."""
        return self.grace_s + 10

    @property
    def heard_s(self) -> float:
        """How often it hears something while it is asked for no rows, so that there is still time to wait for a reader in between."""
        return (self.silent_s - self.grace_s) / 2


class Slots:
    """The exports of a process that are under way."""

    def __init__(self, bounds: ExportBounds) -> None:
        self._bounds = bounds
        self._taken: Counter[UUID] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._removals: set[asyncio.Task[None]] = set()
        self.stopping = False
        # One thread: what it computes holds Python's lock in turns with the event loop, and more of them would hold it up longer.
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="exports")
        # What writes a whole file leaves the lock alone, and takes long: nobody's next rows wait for it.
        self.writers = ThreadPoolExecutor(bounds.at_once, thread_name_prefix="export-writer")

    async def stop(self) -> None:
        """Ends those under way, and waits for a moment until their manifests say so; no other begins."""
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LONGEST_STOP_S)
        # Whoever is cancelled while it removes its files leaves that to a task of its own.
        if self._removals:
            await asyncio.wait(self._removals, timeout=_LONGEST_STOP_S)

    def removal(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that removes what an export put on the disk; a stop waits for it."""
        task = asyncio.create_task(work)
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)
        return task

    def close(self) -> None:
        """Ends the threads, once each has done what it is at."""
        self.thread.shutdown(wait=False)
        self.writers.shutdown(wait=False)

    @contextmanager
    def slot(self, organization: UUID) -> Iterator[None]:
        """A place among them for this task, until the block ends. Raises Problem 429 or 503."""
        later = {"Retry-After": "10"}
        if self.stopping:
            raise Problem(503, STOPPED, headers=later)
        if self._taken[organization] >= self._bounds.per_organization:
            raise Problem(
                429, f"{self._bounds.per_organization} exports of this organization are under way", headers=later
            )
        if self._taken.total() >= self._bounds.at_once:
            raise Problem(503, "as many exports as may be are under way", headers=later)
        self._taken[organization] += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
            self._taken[organization] -= 1
            if not self._taken[organization]:
                del self._taken[organization]
