"""The commands that run until they are stopped: `run`, `api`, `worker`, `scheduler`."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import structlog
from prometheus_client import start_http_server
from rich.console import Console
from rich.markup import escape

from aggregators.definitions import ROLLUPS
from api.auth.authenticate import utc_now
from api.log_observation import LogObservation
from api.observation import Observation
from front import kafka
from front.alert_log import alert_log
from front.delivering import channels, delivering
from front.filling import filling
from front.open_files import allow_open_files
from front.raw_archive import raw_archive
from front.report_fonts import report_fonts
from front.settings import InvalidSetting, Settings
from jobs.delivery.deliverer import Channels
from jobs.report_runs import report_runs
from jobs.scheduler import housekeeping
from jobs.storing import TooManyDeadLetters
from storage.database import Database
from storage.log_partitions import LogPartitions
from storage.migrate import migrate

log = structlog.get_logger(__name__)

LONGEST_STOP_S = 10.0
"""A stop takes a second or two. After so many it is taken for stuck."""

TOO_MANY_DEAD_LETTERS = 3
"""The exit code of a worker that stopped rather than put away a bad deploy's events."""


def run_command(settings: Settings, console: Console, *, demo: bool = False, whole: bool = True) -> int:
    """Serves until it is stopped; returns the exit code."""
    try:
        return run(_serve(settings, console, demo=demo, whole=whole))
    except OSError as error:
        console.print(f"[bold red]error[/] port {settings.port}: {escape(error.strerror or str(error))}")
        return 2


def worker_command(settings: Settings, console: Console) -> int:
    """Works until it is stopped; returns 0, or 3 where too many records could not be counted."""
    _needs_database(settings)
    kafka.cluster(settings)
    return run(_work(settings, console))


def scheduler_command(settings: Settings, console: Console) -> int:
    """Runs the jobs until it is stopped; returns 0."""
    _needs_database(settings)
    return run(_schedule(settings, console, report_fonts(settings), channels(settings)))


def _needs_database(settings: Settings) -> None:
    if settings.database_url is None:
        raise InvalidSetting(
            "DATABASE_URL: is needed for a process of its own; `streamgauge run` starts a database by itself"
        )


def run(work: Coroutine[Any, Any, int]) -> int:
    """Runs a process's whole work and returns its exit code; with uvloop where the platform has it."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return int(uvloop.run(work))


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _serve(settings: Settings, console: Console, *, demo: bool, whole: bool) -> int:
    from front.parts import service
    from front.siblings import siblings

    stop = _stop_signal()
    allow_open_files()
    started = asyncio.get_running_loop().time()
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(service(settings, demo=demo, whole=whole))
        settle()
        if settings.workers > 1:
            await stack.enter_async_context(siblings(settings, running.place, settings.workers - 1))
        seconds = asyncio.get_running_loop().time() - started
        console.print(f"\n[bold]Streamgauge[/] is up after {seconds:.1f} s at [bold]{running.url}[/]")
        if link := await running.sign_in():
            console.print(f"  sign in (once, within the hour)  {link}", soft_wrap=True)
        if running.credentials:
            console.print(f"  API key and password            {running.credentials}", soft_wrap=True)
        console.print("  stop                            Ctrl-C\n")
        code = await _stopped(stop, running.worker, console)
        console.print("stopping…")
        end_for_sure(settings)
    return code


async def _work(settings: Settings, console: Console) -> int:
    stop = _stop_signal()
    url = settings.database_url
    assert url is not None
    async with contextlib.AsyncExitStack() as stack:
        counting = settings.sink_database_url or url
        database, _ = await _opened(stack, settings, url, counting)
        observation = Observation()
        telemetry = LogObservation(observation)
        _tell_metrics(stack, settings, observation)
        partitions = LogPartitions(database)
        ready = asyncio.create_task(kafka.topics_ready(settings, partitions))
        stack.callback(ready.cancel)
        if not await _done_before(stop, ready):
            return 0
        worker = await stack.enter_async_context(kafka.worker(settings, counting, database, partitions, telemetry))
        working = asyncio.create_task(worker.run(), name="worker")
        settle()
        console.print("[bold]Streamgauge[/] worker is at work; stop it with Ctrl-C")
        code = await _stopped(stop, working, console)
        end_for_sure(settings)
        worker.stop()
        await asyncio.gather(working, return_exceptions=True)
        return code


async def _schedule(settings: Settings, console: Console, fonts: tuple[str, ...], ways: Channels) -> int:
    stop = _stop_signal()
    assert settings.database_url is not None
    async with contextlib.AsyncExitStack() as stack:
        keeping = settings.jobs_database_url or settings.database_url
        database, unfilled = await _opened(stack, settings, settings.database_url, keeping)
        observation = Observation()
        _tell_metrics(stack, settings, observation)
        await stack.enter_async_context(
            housekeeping(
                database,
                retention_days=settings.retention_days,
                archive=raw_archive(settings),
                ledger_hours=settings.ledger_hours,
            )
        )
        await stack.enter_async_context(
            report_runs(
                database,
                processes=settings.report_processes,
                fonts=fonts,
                now=utc_now,
                archive=raw_archive(settings),
            )
        )
        publish = await stack.enter_async_context(alert_log(settings, observation))
        await stack.enter_async_context(delivering(settings, ways, database, observation, publish))
        await stack.enter_async_context(filling(keeping, unfilled, raw_archive(settings)))
        console.print("[bold]Streamgauge[/] scheduler is at work; stop it with Ctrl-C")
        await stop.wait()
        end_for_sure(settings)
    return 0


def settle() -> None:
    """Modules and their objects stay: the collector need not look at them again, nor at everything else every few hundred events.

    And a thread that computes lets go of Python after a millisecond, not after five: the one that writes to the database and the one
    that answers need it for moments only, a dozen times a transaction.
    """
    gc.collect()
    gc.freeze()
    # At the end they go like any others: duckdb would tell whoever stops the service of everything that it still has.
    atexit.register(gc.unfreeze)
    gc.set_threshold(200_000, 20, 50)
    sys.setswitchinterval(0.001)


async def _opened(
    stack: contextlib.AsyncExitStack, settings: Settings, url: str, login: str
) -> tuple[Database, list[str]]:
    """The database, migrated by the login of `url` and entered by that of `login`, and the rollups that must be filled."""
    unfilled = await asyncio.to_thread(migrate, url, ROLLUPS, compress_after_days=settings.compress_after_days)
    database = Database(login)
    await database.open()
    stack.push_async_callback(database.close)
    return database, unfilled


def _tell_metrics(stack: contextlib.AsyncExitStack, settings: Settings, observation: Observation) -> None:
    """Serves the process's own figures, where a port is set."""
    if settings.metrics_port is None:
        return
    try:
        server, thread = start_http_server(settings.metrics_port, addr=settings.host, registry=observation.registry)
    except OSError as error:
        raise InvalidSetting(f"STREAMGAUGE_METRICS_PORT: {settings.metrics_port}: {error.strerror or error}") from None
    stack.callback(thread.join, 2.0)
    stack.callback(server.server_close)
    stack.callback(server.shutdown)


async def _done_before(stop: asyncio.Event, task: asyncio.Task[None]) -> bool:
    """Waits until a task is done, unless a stop is asked for before; raises what the task raised."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        task.result()
    return task.done()


async def _stopped(stop: asyncio.Event, worker: asyncio.Task[None] | None, console: Console) -> int:
    """Waits for a signal, or for the worker to end by itself, which it does only where it must; returns the exit code."""
    if worker is None:
        await stop.wait()
        return 0
    try:
        await _done_before(stop, worker)
    except TooManyDeadLetters as error:
        console.print(f"[bold red]stopped[/] {escape(str(error))}", soft_wrap=True)
        return TOO_MANY_DEAD_LETTERS
    except Exception:
        log.exception("worker_failed")
        return 1
    return 0


def end_for_sure(settings: Settings) -> None:
    """Ends the process where something holds it up: what was accepted is committed, and the database ends by itself."""

    def end() -> None:
        print(
            f"not stopped after {LONGEST_STOP_S:.0f} s: ended; nothing accepted is lost ({settings.data})",
            file=sys.stderr,
        )
        os._exit(1)

    watchdog = threading.Timer(LONGEST_STOP_S, end)
    watchdog.daemon = True
    watchdog.start()
