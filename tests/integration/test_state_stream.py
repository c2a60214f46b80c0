"""State streams: the answer at once, then after changes, at most one a second, never a byte of another organization's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.api_service import NOON, Api, another, until

ASKED: dict[str, Any] = {
    "rollup": "system_metrics",
    "measures": "count,sum",
    "group_by": "host",
    "from_": "2026-03-10",
    "to": "2026-03-11",
}


async def rows(stream: Any) -> Any:
    found = await stream.next()
    assert found is not None
    assert found[0] == "state"
    return found[1]["rows"]


async def test_the_answer_of_query_comes_at_once_and_after_every_change(api: Api) -> None:
    await api.send([api.system("a", x=1)])
    async with api.stream(**ASKED) as stream:
        name, body = await stream.next() or ("", None)
        assert (name, body) == ("state", (await api.get("/api/v1/query", **ASKED)).json)
        assert body["rows"] == [["a", 1, 1]]
        assert stream.last_event_id
        await api.send([api.system("b", x=2)])
        assert await rows(stream) == [["a", 1, 1], ["b", 1, 2]]
        # What does not change the answer is not told: a trade, another range.
        await api.send([api.trade(NOON, "1"), api.system("c", NOON - timedelta(days=3), x=1)])
        await api.send([api.system("a", x=3)])
        assert (await rows(stream))[0][1:] == [2, 4]


async def test_many_changes_are_conflated_to_one_a_second(api: Api) -> None:
    loop = asyncio.get_running_loop()
    told: list[tuple[float, int]] = []
    async with api.stream(**ASKED) as stream:
        assert await rows(stream) == []
        started = loop.time()
        sending = asyncio.create_task(_send_many(api, 60))
        while not told or told[-1][1] < 60:
            (row,) = await rows(stream)
            told.append((loop.time() - started, row[1]))
        await sending
    assert [count for _, count in told] == sorted({count for _, count in told})
    assert len(told) <= 2 + told[-1][0]


async def _send_many(api: Api, number: int) -> None:
    for _ in range(number):
        await api.send([api.system("a", x=1)])


async def test_the_leaderboard_is_pushed(api: Api) -> None:
    async with api.stream(leaderboard="creators", limit=2) as stream:
        assert (await stream.next() or ("", {}))[1]["entries"] == []
        await api.send([api.view("like", creator_id=name, video_id=name) for name in "cab"])
        _, body = await stream.next() or ("", {})
        assert [entry["creator_id"] for entry in body["entries"]] == ["a", "b"]
        assert body == (await api.get("/api/v1/leaderboards/creators", limit=2)).json


async def test_readers_of_one_question_share_it_and_the_last_one_ends_it(api: Api) -> None:
    topics = api.services.hub._topics
    async with api.stream(**ASKED) as one, api.stream(last_event_id="anything", **ASKED) as two:
        assert await rows(one) == await rows(two) == []
        assert len(topics) == 1
        async with api.stream(**{**ASKED, "measures": "count"}) as three:
            assert await rows(three) == []
            assert len(topics) == 2
        await until(lambda: len(topics) == 1)
    await until(lambda: not topics)


async def test_organizations_are_separate(api: Api) -> None:
    async with another(api, "Other") as other, other.stream(**ASKED) as theirs, api.stream(**ASKED) as ours:
        assert await rows(theirs) == await rows(ours) == []
        await api.send([api.system("ours", x=1)])
        assert await rows(ours) == [["ours", 1, 1]]
        await other.send([other.system("theirs", x=1)])
        assert await rows(theirs) == [["theirs", 1, 1]]


async def test_an_answer_that_fails_ends_the_stream_and_not_in_the_middle_of_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api.stream(**ASKED) as stream:
        assert await rows(stream) == []

        async def fail(*_: Any) -> Any:
            raise RuntimeError("secret")

        monkeypatch.setattr("api.stream.routes.answer", fail)
        await api.send([api.system("a", x=1)])
        rest = await asyncio.wait_for(stream.answer.content.read(), 10)
        assert rest.strip() in (b"", b":")


async def test_a_stream_ends_when_the_service_stops(api: Api) -> None:
    async with api.stream(**ASKED) as state, api.stream(mode="events") as events:
        assert await rows(state) == []
        await events.placed()
        await api.services.hub.stop()
        assert await state.next(5) is None
        assert await events.next(5) is None
