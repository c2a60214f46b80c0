"""The outbox: events go out in order, whatever the other side does."""

from __future__ import annotations

import asyncio
import datetime as dt
from random import Random

from structlog.testing import capture_logs

from ingest.collectors.outbox import Outbox
from ingest.collectors.spool import Spool
from ingest.events import Event, System, SystemEvent


def event(number: int) -> SystemEvent:
    return SystemEvent(
        specversion="1.0",
        id=str(number),
        source="host/a#1",
        time=dt.datetime(2026, 1, 5, tzinfo=dt.UTC),
        data=System(host="a", metrics={"cpu_usage": float(number)}),
        sequence=number,
    )


class Port:
    """Takes events, except while it is `away`."""

    def __init__(self) -> None:
        self.taken: list[int | str | None] = []
        self.away = False
        self.attempts = 0
        self.reached = asyncio.Event()
        self.refused_often = asyncio.Event()
        self.expected = 0

    async def publish(self, events: list[Event]) -> None:
        self.attempts += 1
        if self.away:
            if self.attempts >= 20:
                self.refused_often.set()
            raise ConnectionError("nobody there")
        self.taken += [one.sequence for one in events]
        if len(self.taken) >= self.expected:
            self.reached.set()

    async def until(self, count: int) -> None:
        self.expected = count
        if len(self.taken) < count:
            self.reached.clear()
            await asyncio.wait_for(self.reached.wait(), 10)


async def quick(_: float) -> None:
    await asyncio.sleep(0)


async def test_an_outage_keeps_the_order_and_is_logged_once() -> None:
    port = Port()
    outbox = Outbox(port.publish, Spool(max_events=100), name="test", random=Random(1), sleep=quick)
    with capture_logs() as logs:
        running = asyncio.create_task(outbox.run())
        outbox.put([event(1)])
        await port.until(1)
        port.away = True
        for number in range(2, 12):
            outbox.put([event(number)])
            await asyncio.sleep(0)
        await asyncio.wait_for(port.refused_often.wait(), 10)
        port.away = False
        await port.until(11)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert port.taken == list(range(1, 12))
    assert [one["event"] for one in logs] == ["publish_failed", "publish_recovered"]
    assert "nobody there" in logs[0]["reason"]


async def test_a_long_outage_drops_the_oldest_and_says_how_many() -> None:
    port = Port()
    port.away = True
    spool = Spool(max_events=10)
    outbox = Outbox(port.publish, spool, name="test", random=Random(1), sleep=quick)
    with capture_logs() as logs:
        running = asyncio.create_task(outbox.run())
        for number in range(1, 36):
            outbox.put([event(number)])
            await asyncio.sleep(0)
        port.away = False
        await port.until(10)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert port.taken[-10:] == list(range(26, 36))
    assert spool.dropped == 25
    full = [one["dropped"] for one in logs if one["event"] == "spool_full"]
    assert full == [1, 2, 4, 8, 16], "the first loss and each doubling"
    assert logs[-1]["event"] == "publish_recovered"
    assert logs[-1]["dropped"] == 25
