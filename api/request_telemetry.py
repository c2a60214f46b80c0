"""An API process is one of its own collectors: what it measures of its requests it publishes as `system` events."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from random import Random

from api.request_counts import Interval, RequestCounts
from ingest.collectors.cadence import beats
from ingest.collectors.outbox import Outbox, Publish
from ingest.collectors.spool import Spool
from ingest.events import System, SystemEvent

INTERVAL_S = 10.0
"""How often it publishes: a reader sees a request after so many seconds at the most."""

SPOOL_EVENTS = 20_000
"""Events that wait for a log that is away; the oldest are dropped, counted and logged."""

REQUESTS_TOTAL, UPTIME = "api.requests_total", "api.uptime_seconds"
"""By these metrics the processes are told from other hosts."""


class RequestTelemetry:
    """Publishes the counts of one process, whose name is `host`, from the source `HOST#INCARNATION`, numbered from 1.

    Every interval brings one event of the process: `requests_per_second` and, where there were requests, `response_time` (the mean,
    ms) and `error_rate` (%); `api.requests_total` and `api.uptime_seconds` since it started. Then one event for each route and bin
    that was met, of the host `HOST METHOD ROUTE`: `api.requests` requests took about `api.request_time` ms each, and `api.errors`
    of them failed. These names are never those that dashboards take the mean of over hosts.

    Publishing is no request, so it does not measure itself. It goes on beside the requests and never holds one up; what cannot be
    published waits as a host's measurements do.
    """

    def __init__(
        self,
        publish: Publish,
        counts: RequestCounts,
        *,
        host: str,
        incarnation: str,
        clock: Callable[[], dt.datetime],
        random: Random,
        interval: float = INTERVAL_S,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._counts = counts
        self._host = host
        self._source = f"{host}#{incarnation}"
        self._clock = clock
        self._interval = interval
        self._monotonic = monotonic
        self._sleep = sleep
        self._started = self._taken = monotonic()
        self._sequence = 0
        self._spool = Spool(max_events=SPOOL_EVENTS)
        self._outbox = Outbox(publish, self._spool, name="api-requests", random=random)

    @property
    def dropped(self) -> int:
        """Events lost because the log was away for longer than the spool holds."""
        return self._spool.dropped

    async def run(self) -> None:
        """Publishes at once, so that the process is known, and then every interval until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._outbox.run(), name="api-requests-outbox")
            self.measure()
            async for _ in beats(self._interval, monotonic=self._monotonic, sleep=self._sleep):
                self.measure()

    def measure(self) -> None:
        """Puts into the outbox what happened since the last time."""
        now, moment = self._monotonic(), self._clock()
        interval = self._counts.take()
        events = [self._event(moment, self._host, self._totals(interval, now))]
        events += [
            self._event(
                moment,
                f"{self._host} {one.method} {one.route}",
                {"api.request_time": one.ms, "api.requests": one.requests, "api.errors": one.errors},
            )
            for one in interval.answered
        ]
        self._taken = now
        self._outbox.put(events)

    def _totals(self, interval: Interval, now: float) -> dict[str, float]:
        elapsed = now - self._taken
        metrics: dict[str, float] = {REQUESTS_TOTAL: self._counts.total, UPTIME: now - self._started}
        if elapsed > self._interval / 2:
            # What was answered in the moment before the first event is no rate.
            metrics["requests_per_second"] = interval.requests / elapsed
        if interval.requests:
            metrics["response_time"] = interval.total_ms / interval.requests
            metrics["error_rate"] = 100.0 * interval.errors / interval.requests
        return metrics

    def _event(self, moment: dt.datetime, host: str, metrics: dict[str, float]) -> SystemEvent:
        self._sequence += 1
        return SystemEvent(
            specversion="1.0",
            id=str(self._sequence),
            source=self._source,
            time=moment,
            data=System(host=host, metrics=metrics),
            sequence=self._sequence,
        )
