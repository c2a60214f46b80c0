"""Streams in numbers: one question for all, nothing left behind, signs of life, and an end for readers that stand still."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from api.stream.event_stream import EventStream
from api.stream.readers import Reader
from api.stream.state_stream import StateStream
from api.stream.tail import Tail
from api.stream.topic import Topic
from tests.integration.api_service import NOON, Api, running, until

ASKED: dict[str, Any] = {"rollup": "system_metrics", "measures": "count", "from_": "2026-03-10", "to": "2026-03-11"}


def left(api: Api) -> dict[str, int]:
    """How many things of streams there are in this process."""
    gc.collect()
    kinds = (Reader, StateStream, EventStream, Tail, Topic, asyncio.Task, asyncio.TimerHandle)
    found = {kind.__name__: 0 for kind in kinds}
    for thing in gc.get_objects():
        # What is over may still wait for the loop or the collector to let go of it.
        over = (isinstance(thing, asyncio.Task) and thing.done()) or (
            isinstance(thing, asyncio.TimerHandle) and thing.cancelled()
        )
        if isinstance(thing, kinds) and not over:
            found[next(kind.__name__ for kind in kinds if isinstance(thing, kind))] += 1
    return found


async def test_a_thousand_streams_opened_and_closed_leave_nothing_behind(api: Api) -> None:
    hub = api.services.hub

    async def one(number: int) -> None:
        how = ({"mode": "events"}, ASKED, {**ASKED, "limit": 1 + number % 7})[number % 3]
        async with api.stream(**how) as stream:
            if number % 3:
                assert (await stream.next() or ("",))[0] == "state"
            else:
                await stream.placed()

    async def many(count: int) -> dict[str, int]:
        for start in range(0, count, 50):
            await asyncio.gather(*(one(number) for number in range(start, start + 50)))
        await until(lambda: not len(api.readers) and not hub._topics and not hub._tails)
        assert not hub._concerned
        assert not api.readers._by_principal
        assert not any(api.readers._wheel)
        return left(api)

    before = await many(100)
    objects = len(gc.get_objects())
    after = await many(1_000)
    assert len(gc.get_objects()) - objects < 2_000
    # Other parts have timers and tasks of their own, a few more or less.
    assert {kind: number for kind, number in after.items() if number > before[kind] + 5} == {}
    gauges = (await api.get("/metrics")).text
    assert 'streamgauge_streams{mode="events"} 0.0' in gauges
    assert 'streamgauge_streams{mode="state"} 0.0' in gauges


async def test_a_question_of_many_is_asked_once_and_looks_at_their_credential_once(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    lapsed = api.services.authenticator.lapsed

    async def counted(principals: Any) -> Any:
        looks.append(len(principals))
        return await lapsed(principals)

    monkeypatch.setattr(api.services.authenticator, "lapsed", counted)
    async with Streams(api, 100, ASKED) as streams:
        for stream in streams:
            assert (await stream.next() or ("",))[0] == "state"
        (topic,) = api.services.hub._topics.values()
        version = topic.version
        await api.send([api.system("a", NOON, x=1)])
        for stream in streams:
            assert (await stream.next() or ("", {}))[1]["rows"] == [[1]]
        assert topic.version == version + 1
        seen = len(looks)
        await until(lambda: len(looks) > seen)
    assert set(looks) == {1}


async def test_an_idle_stream_has_signs_of_life_and_its_place_moves_on(
    service_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.stream.readers.HEARTBEAT_S", 0.2)
    async with (
        running(service_database) as api,
        running(service_database) as elsewhere,
        api.stream(mode="events") as events,
        api.stream(**ASKED) as state,
    ):
        await events.placed()
        await state.next()
        assert (await asyncio.wait_for(state.answer.content.readline(), 5)).startswith(b":")
        # Another organization's commit is not told, but whoever comes back later need not go behind it.
        place = events.last_event_id
        await elsewhere.send([elsewhere.system("b", x=1)])
        while events.last_event_id == place:
            events.last_event_id = ""
            await events.placed()
        await api.send([api.system("a", x=1)])
        assert len(await events.ids(1)) == 1


async def test_a_reader_that_takes_nothing_is_cut(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.stream.readers.STALL_S", 1.0)
    long = "x" * 250
    async with api.stream(mode="events", type="trade", narrow=True) as slow, api.stream(mode="events") as fast:
        await slow.placed()
        await fast.placed()
        await api.send(
            [api.trade(NOON, "1", user_id=long, broker=long, symbol=long, strategy=long) for _ in range(5_000)]
        )
        await fast.ids(5_000)
        await until(lambda: len(api.readers) == 1, 20)
        await api.send([api.system("a", x=1)])
        assert len(await fast.ids(1)) == 1


class Streams:
    """Many open streams of one question."""

    def __init__(self, api: Api, number: int, asked: dict[str, Any]) -> None:
        self._opened = [api.stream(**asked) for _ in range(number)]

    async def __aenter__(self) -> list[Any]:
        return list(await asyncio.gather(*(one.__aenter__() for one in self._opened)))

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(one.__aexit__(None, None, None) for one in self._opened))
