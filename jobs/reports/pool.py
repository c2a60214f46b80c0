"""The processes that render: a PDF takes a processor for a tenth of a second, and no request should wait for it.

Each process renders one report at a time. It gives way to whoever serves requests, ends itself when a report takes too long, and is
replaced when it has grown too large, so that neither a report that cannot be rendered nor a thousand that can harm another.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import psutil
import structlog

from jobs.reports.render import Format, packed, render, unpacked
from jobs.reports.report import Report

log = structlog.get_logger(__name__)

LONGEST_S = 120
"""Seconds that one report may take; a process that takes longer is ended."""
LARGEST_MB = 700
"""A process that holds more after a report is replaced: a compiler keeps what it has laid out. One starts with 240."""
_UNKNOWN = -1.0
_BEHIND = 19
"""How far they stand back (nice): on a busy machine a request waited 36 ms beside 16 reports with 10, 11 ms with 19."""


class RenderFailed(Exception):
    """The report could not be rendered, for no fault of its values; the message says what happened."""


class RenderPool:
    """A number of processes that render reports. They start when the first report comes."""

    def __init__(
        self,
        processes: int = 1,
        *,
        fonts: tuple[str, ...] = (),
        longest_s: int = LONGEST_S,
        largest_mb: int = LARGEST_MB,
    ) -> None:
        self._fonts = fonts
        self._longest_s = longest_s
        self._largest_mb = largest_mb
        self._packing = asyncio.Lock()
        self._all: set[ProcessPoolExecutor] = set()
        self._done: dict[ProcessPoolExecutor, Any] = {}
        self._at: dict[int, Any] = {}
        self._free: asyncio.LifoQueue[ProcessPoolExecutor | None] = asyncio.LifoQueue()
        for _ in range(processes):
            self._free.put_nowait(None)

    async def render(self, report: Report, form: Format) -> bytes:
        """The report in a format; waits for a free process. Raises BadReport, TooManyRows, MissingGlyph, RenderFailed."""
        pieces = []
        # One at a time: of many that are packed at once each would add a piece to every round of the loop.
        async with self._packing:
            for piece in packed(report):
                pieces.append(piece)
                await asyncio.sleep(0)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            return await self._made(report, pieces, form)
        except BrokenProcessPool:
            late = clock() - began >= self._longest_s
            log.warning("report_process_ended", type=report.type, format=form, late=late)
        if not late:
            # It may have been ended for another's sake, or while it was idle: a new one tries once more.
            with contextlib.suppress(BrokenProcessPool):
                return await self._made(report, pieces, form)
        raise RenderFailed(
            f"the process that rendered it ended: it took longer than {self._longest_s} s, or ran out of memory"
        )

    def done(self, report: Report) -> float | None:
        """Which part of a report that is being rendered is done, 0 to 1; None where that cannot be told."""
        done = self._at.get(id(report))
        return None if done is None or done.value < 0 else float(done.value)

    async def _made(self, report: Report, pieces: list[bytes], form: Format) -> bytes:
        """What one process makes of the pieces of a report. Raises BrokenProcessPool where it ends meanwhile."""
        process = await self._free.get() or self._started()
        done = self._at[id(report)] = self._done[process]
        done.value = _UNKNOWN
        try:
            future = asyncio.get_running_loop().run_in_executor(
                process, _render, pieces, form, self._fonts, self._longest_s
            )
        except BrokenProcessPool:
            self._at.pop(id(report), None)
            self._give_back(process, done=None)
            raise
        # Whoever stops waiting does not stop the process: it is free again when it is done.
        future.add_done_callback(lambda done: self._give_back(process, done))
        try:
            made, _ = await asyncio.shield(future)
        finally:
            self._at.pop(id(report), None)
        return made

    async def close(self, *, at_once: bool = False) -> None:
        """Ends the processes, after the reports that they are at, or `at_once`."""
        processes, self._all = list(self._all), set()
        for process in processes:
            if at_once:
                # An executor has no public way to end its process before Python 3.14.
                for child in list((vars(process).get("_processes") or {}).values()):
                    child.kill()
            await asyncio.to_thread(process.shutdown, cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        done = context.Value("d", _UNKNOWN, lock=False)
        process = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(done,))
        self._all.add(process)
        self._done[process] = done
        return process

    def _give_back(self, process: ProcessPoolExecutor, done: asyncio.Future[tuple[bytes, int]] | None) -> None:
        """Makes place for the next report: on the same process, or on a new one where this one ended or grew too large."""
        error = None if done is None or done.cancelled() else done.exception()
        ended = done is None or isinstance(error, BrokenProcessPool)
        held_mb = 0 if done is None or done.cancelled() or error is not None else done.result()[1]
        if not ended and held_mb <= self._largest_mb and process in self._all:
            self._free.put_nowait(process)
            return
        if held_mb > self._largest_mb:
            log.info("report_process_replaced", held_mb=held_mb)
        self._all.discard(process)
        self._done.pop(process, None)
        process.shutdown(wait=False)
        self._free.put_nowait(None)


_begun: list[Any] = []
"""In a process that renders: the number in which it says which part is done, which its parent reads."""


def _begin(done: Any) -> None:
    """Once a process: it gives way to the others, ends with its parent, and an interrupt of the terminal is its parent's to handle."""
    _begun.append(done)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(_BEHIND)


def _tell(fraction: float) -> None:
    _begun[0].value = fraction


def _end_with_parent() -> None:
    """A parent that was killed says nothing, and its process would wait for the next report for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _render(pieces: list[bytes], form: Format, fonts: tuple[str, ...], longest_s: int) -> tuple[bytes, int]:
    """What a process does for a report; returns it, and how many MB it holds."""
    if hasattr(signal, "setitimer"):
        # Nobody catches the alarm: it ends the process, whatever it is doing.
        signal.setitimer(signal.ITIMER_REAL, longest_s)
    try:
        made = render(unpacked(pieces), form, fonts, _tell)
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
    return made, psutil.Process().memory_info().rss // 2**20
