"""The other API processes of a service (`--workers`): beside the first one, on its port, and started again where they end."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import structlog

from front import logs
from front.parts import Place, service
from front.settings import Settings
from front.shared_figures import forget

log = structlog.get_logger(__name__)

READY_S = 60.0
STOP_S = 6.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_SPAWN = multiprocessing.get_context("spawn")
"""A fork would copy the locks of threads, and the connections to the database."""


@asynccontextmanager
async def siblings(settings: Settings, place: Place, count: int) -> AsyncIterator[None]:
    """Keeps so many more API processes at a place while the block runs, which begins when they serve.

    One that does not start within a minute is not waited for.
    """
    ready = [asyncio.Event() for _ in range(count)]
    keepers = [
        asyncio.create_task(_keep(settings, replace(place, number=number), event))
        for number, event in enumerate(ready, start=1)
    ]
    try:
        async with asyncio.timeout(READY_S):
            await asyncio.gather(*(event.wait() for event in ready))
    except TimeoutError:
        log.error("api_processes_not_started", started=sum(event.is_set() for event in ready), wanted=count)
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)


async def _keep(settings: Settings, place: Place, serves: asyncio.Event) -> None:
    """Runs one process, and another one where it ends by itself; more and more slowly where it does not even start."""
    pause = _FIRST_PAUSE_S
    while True:
        receiver, sender = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_serve, args=(settings, place, sender), name=f"api-{place.number}", daemon=True)
        await asyncio.to_thread(process.start)
        sender.close()
        ended = asyncio.create_task(_readable(process.sentinel))
        try:
            # The child says that it serves, or its end of the pipe closes with it.
            await _readable(receiver.fileno())
            if receiver.poll() and not process.exitcode and _said(receiver):
                serves.set()
                pause = _FIRST_PAUSE_S
            await ended
        finally:
            receiver.close()
            await _end(process, ended)
        log.error("api_process_ended", number=place.number, exit_code=process.exitcode, again_in_s=pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def _said(receiver: Connection) -> bool:
    try:
        return bool(receiver.recv())
    except EOFError:
        return False


async def _readable(descriptor: int) -> None:
    """Returns when there is something to read, or the other side is closed."""
    loop = asyncio.get_running_loop()
    found = loop.create_future()
    loop.add_reader(descriptor, lambda: None if found.done() else found.set_result(None))
    try:
        await found
    finally:
        loop.remove_reader(descriptor)


async def _end(process: BaseProcess, ended: asyncio.Task[None]) -> None:
    """Stops a process that still runs, by force after some seconds."""
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await asyncio.shield(ended)
    except TimeoutError:
        process.kill()
        await ended
    process.join()
    assert process.pid is not None
    forget(process.pid)


def _serve(settings: Settings, place: Place, sender: Connection) -> None:
    """A child's whole life: it serves until it is told to stop, or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its children itself
    logs.configure(settings)
    from front.serving import end_for_sure, run, settle

    async def serving() -> int:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        parent = multiprocessing.parent_process()
        assert parent is not None
        orphaned = asyncio.create_task(_readable(parent.sentinel))
        orphaned.add_done_callback(lambda _: stop.set())
        async with service(settings, whole=False, join=place):
            settle()
            # A parent that is stopping listens no more; it says so by a signal.
            with contextlib.suppress(BrokenPipeError):
                sender.send(True)
            sender.close()
            await stop.wait()
            end_for_sure(settings)
        orphaned.cancel()
        return 0

    run(serving())
