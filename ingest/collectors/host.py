"""The host collector: what this machine measures of itself, one `system` event a second."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from ingest.collectors.cadence import beats
from ingest.collectors.host_probes import Probes
from ingest.collectors.outbox import Outbox, Publish
from ingest.collectors.spool import Spool
from ingest.events import System, SystemEvent

SPOOL_EVENTS = 3_600
"""Events that wait for a server that is away: an hour at one a second."""


class HostCollector:
    """Publishes this host's metrics as `system` events of the source `host/<hostname>#<incarnation>`.

    The sequence, and the id as its text, rises from 1; a collector that starts again takes a new `incarnation`.
    It measures in a thread, keeps its beat whatever the publishing does, and skips a beat that it missed. A figure that this
    machine cannot give is absent. `clock` gives the time in UTC.
    """

    def __init__(
        self,
        publish: Publish,
        *,
        hostname: str,
        incarnation: str,
        clock: Callable[[], dt.datetime],
        random: Random,
        interval: float = 1.0,
        spool_file: Path | None = None,
        probes: Probes | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hostname = hostname
        self._source = f"host/{hostname}#{incarnation}"
        self._clock = clock
        self._interval = interval
        self._probes = probes or Probes()
        self._monotonic = monotonic
        self._sleep = sleep
        self._sequence = 0
        self._spool = Spool(max_events=SPOOL_EVENTS, file=spool_file)
        self._outbox = Outbox(publish, self._spool, name="host", random=random)
        self.missed = 0

    @property
    def dropped(self) -> int:
        """Events lost because the server was away for longer than the spool holds."""
        return self._spool.dropped

    async def run(self) -> None:
        """Measures and publishes until it is cancelled."""
        with self._probes:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._outbox.run(), name="host-outbox")
                tasks.create_task(self._measure(), name="host-measure")

    async def _measure(self) -> None:
        async for missed in beats(self._interval, monotonic=self._monotonic, sleep=self._sleep):
            self.missed += missed
            metrics = await asyncio.to_thread(self._probes.measure)
            if metrics:
                self._outbox.put([self._event(metrics)])

    def _event(self, metrics: dict[str, float]) -> SystemEvent:
        self._sequence += 1
        return SystemEvent(
            specversion="1.0",
            id=str(self._sequence),
            source=self._source,
            time=self._clock(),
            data=System(host=self._hostname, metrics=metrics),
            sequence=self._sequence,
        )
