"""`streamgauge collect`: this host's metrics, for as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from pathlib import Path
from random import Random

from rich.console import Console
from rich.markup import escape

from api.auth.authenticate import utc_now
from front.settings import Settings
from front.targets import Target, opened
from ingest.collectors.client import CollectorError
from ingest.collectors.host import HostCollector
from ingest.collectors.incarnation import incarnation
from ingest.log import Unavailable
from storage.database import StorageUnavailable


def collect_command(settings: Settings, target: Target, spool: Path | None, console: Console) -> int:
    """Measures until it is stopped; returns 0, or 1 where the target refuses it."""
    try:
        asyncio.run(_collect(settings, target, spool, console))
    except (CollectorError, Unavailable, StorageUnavailable) as error:
        console.print(f"[bold red]error[/] {escape(str(error))}")
        return 1
    return 0


async def _collect(settings: Settings, target: Target, spool: Path | None, console: Console) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    random = Random()  # noqa: S311  (spreads retries and names this start; nothing secret)
    # The outbox tries again by itself, with what has gathered by then.
    async with opened(settings, target, random, patience=0.0) as server:
        collector = HostCollector(
            server.publish,
            hostname=socket.gethostname() or "localhost",
            incarnation=incarnation(utc_now(), random),
            clock=utc_now,
            random=random,
            spool_file=spool,
        )
        running = asyncio.create_task(collector.run(), name="host-collector")
        stopping = asyncio.create_task(stop.wait())
        console.print("measuring this host every second; stop it with Ctrl-C")
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if running.done():
            running.result()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
