"""The demo: a past of thirty days, then a second at a time, for an organization that says so in its name."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from random import Random

from ingest.collectors.cadence import beats
from ingest.collectors.demo import Demo
from ingest.collectors.outbox import Outbox, Publish
from ingest.collectors.spool import Spool

PAST_DAYS = 30
SPOOL_EVENTS = 100_000
"""The whole past and some hours of the present: the demo never waits for the database."""


async def run_demo(publish: Publish, now: Callable[[], dt.datetime], random: Random) -> None:
    """Publishes until it is cancelled. `random` is of the same seed at every start, so that a restart goes on where it was."""
    demo = Demo(random)
    outbox = Outbox(publish, Spool(max_events=SPOOL_EVENTS), name="demo", random=random)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.run(), name="demo-outbox")
        began = now()
        history = demo.history(began, PAST_DAYS)
        while batch := await asyncio.to_thread(next, history, None):
            outbox.put(batch)
        async for _ in beats(1.0):
            # Every second since the last one, so that a slow start or a missed beat leaves no gap.
            while began + dt.timedelta(seconds=1) <= now():
                began += dt.timedelta(seconds=1)
                outbox.put(demo.tick(began))
