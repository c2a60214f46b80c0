"""Fills what was newly declared while everything else goes on, and takes it up again after the database was away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from aggregators.definitions import BY_NAME
from storage.archive import Archive
from storage.database import StorageUnavailable
from storage.filling import fill

log = structlog.get_logger(__name__)

_AGAIN_S = 5.0


class _StoppedError(Exception):
    """The process stops; the next start, or another process, goes on with what is not filled yet."""


@asynccontextmanager
async def filling(url: str, names: Sequence[str], archive: Archive | None = None) -> AsyncIterator[None]:
    """Fills the rollups of these names, which `migrate` returned, while the block runs. Any number of processes may do so at once.

    What was dropped from the raw tables is read from the `archive`; while a file of it is missing the filling waits.
    """
    if not names:
        yield
        return
    stopping = threading.Event()
    task = asyncio.create_task(asyncio.to_thread(_fill, url, names, stopping, archive), name="filling")
    try:
        yield
    finally:
        # The day that is being filled is finished or rolled back; nothing waits for it.
        stopping.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _fill(url: str, names: Sequence[str], stopping: threading.Event, archive: Archive | None) -> None:
    def report(name: str, done: int, total: int) -> None:
        if stopping.is_set():
            raise _StoppedError
        if done == total:
            log.info("rollup_filled", rollup=name, days=total)

    while not stopping.is_set():
        try:
            fill(url, [BY_NAME[name] for name in names if name in BY_NAME], report, stopping.wait, archive)
            return
        except _StoppedError:
            log.info("rollup_filling_stopped", rollups=names)
        except StorageUnavailable as error:
            log.warning("rollup_filling_postponed", rollups=names, reason=str(error))
            stopping.wait(_AGAIN_S)
        except Exception:
            log.exception("rollup_filling_failed", rollups=names)
            return
