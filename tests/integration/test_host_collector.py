"""The host collector measuring the machine that the tests run on."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import threading
from pathlib import Path
from random import Random

from ingest.collectors.client import Client
from ingest.collectors.host import HostCollector
from ingest.collectors.host_probes import Probes
from ingest.events import Event
from ingest.events.system import UNITS
from tests.integration.events_server import KEY, events_server


def clock() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Taken:
    """Takes events and tells when there are enough."""

    def __init__(self, wanted: int) -> None:
        self.events: list[Event] = []
        self.enough = asyncio.Event()
        self._wanted = wanted

    async def publish(self, events: list[Event]) -> None:
        self.events += events
        if len(self.events) >= self._wanted:
            self.enough.set()


def collector(taken: Taken, probes: Probes | None = None) -> HostCollector:
    return HostCollector(
        taken.publish,
        hostname="web-1",
        incarnation="01J0",
        clock=clock,
        random=Random(1),
        interval=0.05,
        probes=probes,
    )


async def run(host: HostCollector, taken: Taken) -> None:
    running = asyncio.create_task(host.run())
    try:
        await asyncio.wait_for(taken.enough.wait(), 30)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_numbers_what_it_measures() -> None:
    taken = Taken(4)
    await run(collector(taken), taken)
    assert [event.sequence for event in taken.events[:4]] == [1, 2, 3, 4]
    assert {event.source for event in taken.events} == {"host/web-1#01J0"}
    for event in taken.events:
        metrics = event.data.metrics
        assert event.data.host == "web-1"
        assert metrics.keys() <= UNITS.keys()
        assert metrics.keys() >= {"cpu_usage", "memory_usage", "disk_usage", "system_load", "network_latency"}
        assert all(0 <= metrics[name] <= 100 for name in ("cpu_usage", "memory_usage", "disk_usage"))
        assert 0 < metrics["network_latency"] < 1_000
        assert "uptime" not in metrics


async def test_it_publishes_over_http_too() -> None:
    async with events_server() as server, Client(server.url, KEY, random=Random(1)) as client:
        taken = Taken(2)

        async def publish(events: list[Event]) -> None:
            await client.publish(events)
            await taken.publish(events)

        host = HostCollector(
            publish, hostname="web-1", incarnation="01J0", clock=clock, random=Random(1), interval=0.05
        )
        await run(host, taken)
        assert [event.sequence for event in server.events[:2]] == [1, 2]


class Stuck(Probes):
    """Probes that take longer than the beat, until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.called = threading.Event()
        self.go = threading.Event()
        self.first = True

    def measure(self) -> dict[str, float]:
        if self.first:
            self.first = False
            self.called.set()
            self.go.wait(10)
        return {"cpu_usage": 1.0}


async def test_a_slow_measurement_blocks_nobody_and_its_beats_are_skipped() -> None:
    taken = Taken(2)
    probes = Stuck()
    host = collector(taken, probes)
    running = asyncio.create_task(host.run())
    assert await asyncio.to_thread(probes.called.wait, 10)
    turns = 0
    deadline = asyncio.get_running_loop().time() + 0.3
    while asyncio.get_running_loop().time() < deadline:  # the loop turns while the measurement hangs
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100
    probes.go.set()
    await asyncio.wait_for(taken.enough.wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert host.missed >= 4
    assert [event.sequence for event in taken.events[:2]] == [1, 2]


def test_a_gpu_is_told_only_where_there_is_one(tmp_path: Path) -> None:
    with Probes(graphics=tmp_path) as probes:
        assert "gpu_usage" not in probes.measure()
        for card, load in (("card0", "40\n"), ("card1", "60\n")):
            device = tmp_path / card / "device"
            device.mkdir(parents=True)
            (device / "gpu_busy_percent").write_text(load)
        assert probes.measure()["gpu_usage"] == 50.0


def test_established_connections_are_counted_from_the_kernels_table(tmp_path: Path) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    rows = "".join(
        f"   {at}: 0100007F:07E8 0100007F:1F40 {state} 0:0 0:0 0 0 0 1\n"
        for at, state in enumerate(("01", "0A", "01", "06"))
    )
    (tmp_path / "tcp").write_text(head + rows)
    (tmp_path / "tcp6").write_text(head)
    with Probes(network=tmp_path) as probes:
        assert probes.measure()["active_connections"] == 2


def test_a_real_connection_is_seen() -> None:
    with (
        Probes() as probes,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0],
    ):
        assert probes.measure()["active_connections"] >= 2
