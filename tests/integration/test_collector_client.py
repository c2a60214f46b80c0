"""The client of the events endpoint against a server that fails as real ones do."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from random import Random

import pytest

from ingest.collectors.backoff import Backoff
from ingest.collectors.client import Client, Refused, Unreachable
from ingest.events import System, SystemEvent
from tests.integration.events_server import KEY, EventsServer, events_server, free_port, refusing

SOURCE = "host/a#1"


def events(first: int, last: int, *, value: float = 1.0, host: str = "a") -> list[SystemEvent]:
    return [
        SystemEvent(
            specversion="1.0",
            id=str(number),
            source=SOURCE,
            time=dt.datetime(2026, 1, 5, tzinfo=dt.UTC),
            data=System(host=host, metrics={"cpu_usage": value}),
            sequence=number,
        )
        for number in range(first, last + 1)
    ]


class Waits:
    """Sleeps no time at all, and remembers how long it should have."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)

    def monotonic(self) -> float:
        return sum(self.seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
async def server() -> AsyncIterator[EventsServer]:
    async with events_server() as running:
        yield running


def client(url: str, waits: Waits, *, key: str = KEY, patience: float | None = 60.0) -> Client:
    return Client(
        url, key, random=Random(1), backoff=Backoff(first=0.5, cap=4.0), patience=patience, sleep=waits.sleep,
        monotonic=waits.monotonic,
    )  # fmt: skip


async def test_events_arrive_in_batches_of_a_thousand_in_order(server: EventsServer, waits: Waits) -> None:
    async with client(server.url, waits) as sender:
        receipt = await sender.send(events(1, 2_500))
    assert (receipt.accepted, receipt.rejected) == (2_500, [])
    assert server.requests == [1_000, 1_000, 500]
    assert [event.sequence for event in server.events] == list(range(1, 2_501))


async def test_a_body_stays_below_four_mebibytes(server: EventsServer, waits: Waits) -> None:
    async with client(server.url, waits) as sender:
        many = [
            SystemEvent(
                specversion="1.0", id=str(number), source=SOURCE, time=dt.datetime(2026, 1, 5, tzinfo=dt.UTC), sequence=number,
                data=System(host="a", metrics={f"{name:064}": 1.0 for name in range(256)}),
            )
            for number in range(1, 501)
        ]  # fmt: skip
        receipt = await sender.send(many)
    assert receipt.accepted == 500
    assert len(server.requests) == 3


async def test_rejected_events_are_told_by_their_place_in_the_whole_list(server: EventsServer, waits: Waits) -> None:
    sent = events(1, 1_200)
    sent[3].data.host = ""
    sent[1_100].data.host = "x" * 300
    async with client(server.url, waits) as sender:
        receipt = await sender.send(sent)
        refused = await sender.send(events(2_001, 2_002, host=""))
    assert receipt.accepted == 1_198
    assert [(one.index, one.id) for one in receipt.rejected] == [(3, "4"), (1_100, "1101")]
    assert receipt.rejected[0].error.startswith("data.host: ")
    assert (refused.accepted, len(refused.rejected)) == (0, 2), "422 is an answer, not an error"
    assert waits.seconds == []


async def test_callers_at_once_wait_for_each_other(server: EventsServer, waits: Waits) -> None:
    async with client(server.url, waits) as sender:
        await asyncio.gather(*(sender.send(events(first, first + 9)) for first in range(1, 200, 10)))
    assert server.most_at_once == 1
    assert [event.sequence for event in server.events] == list(range(1, 201))


async def test_what_passes_is_tried_again_and_counts_once(server: EventsServer, waits: Waits) -> None:
    failures = [refusing(408), refusing(429), refusing(500), refusing(502), refusing(503), "broken", "lost"]
    server.failures.extend(failures)
    async with client(server.url, waits) as sender:
        receipt = await sender.send(events(1, 10))
    assert receipt.accepted == 10
    assert len(server.events) == 10
    assert len(waits.seconds) == len(failures)
    # From half a second doubling to four, half of each at random.
    for wait, full in zip(waits.seconds, (0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0), strict=True):
        assert full / 2 <= wait <= full


async def test_it_waits_as_long_as_the_server_asks(server: EventsServer, waits: Waits) -> None:
    server.failures.extend([refusing(503, Retry_After="9"), refusing(429, Retry_After="0")])
    async with client(server.url, waits) as sender:
        await sender.send(events(1, 1))
    assert waits.seconds[0] == 9.0
    assert waits.seconds[1] < 1.1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 307])
async def test_an_error_of_ours_is_not_repeated_and_says_the_servers_words(
    server: EventsServer, waits: Waits, status: int
) -> None:
    server.failures.append(refusing(status, "the key lacks the scope events:write"))
    async with client(server.url, waits) as sender:
        with pytest.raises(Refused, match="lacks the scope events:write") as refused:
            await sender.send(events(1, 1))
    assert refused.value.status == status
    assert waits.seconds == []


async def test_a_wrong_key_is_refused(server: EventsServer, waits: Waits) -> None:
    async with client(server.url, waits, key="wrong") as sender:
        with pytest.raises(Refused, match="this API key is not known"):
            await sender.send(events(1, 1))


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1/"])
async def test_an_address_that_is_none_is_not_tried_for_minutes(waits: Waits, url: str) -> None:
    async with client(url, waits) as sender:
        with pytest.raises(Refused, match="is no address"):
            await sender.send(events(1, 1))


async def test_something_else_that_listens_there_is_no_server(server: EventsServer, waits: Waits) -> None:
    async with client(server.url + "/elsewhere", waits) as sender:
        with pytest.raises(Refused) as refused:
            await sender.send(events(1, 1))
    assert refused.value.status == 404


async def test_patience_ends(waits: Waits) -> None:
    async with client(f"http://127.0.0.1:{free_port()}", waits, patience=20.0) as sender:
        with pytest.raises(Unreachable, match="did not answer for"):
            await sender.send(events(1, 1))
    assert 10.0 < sum(waits.seconds) <= 20.0


async def test_the_sequence_tells_where_to_go_on(server: EventsServer, waits: Waits) -> None:
    async with client(server.url, waits) as sender:
        assert await sender.sequence("system", SOURCE) is None
        await sender.send(events(1, 17))
        assert await sender.sequence("system", SOURCE) == 17
        assert await sender.sequence("trade", SOURCE) is None
