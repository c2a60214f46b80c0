"""`GET /api/v1/leaderboards/creators`: every board against a count in plain Python over the events, and every way to read a part of one."""

from __future__ import annotations

import asyncio
import math
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from ingest.events.view import REACTIONS
from storage.leaderboard import standings
from tests.integration.api_service import NOON, Api, another, until
from tests.integration.test_top_creators import wilson

PATH = "/api/v1/leaderboards/creators"
DAYS = {"24h": 1, "7d": 7, "30d": 30}
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
END = NOON + 15 * MINUTE
"""Where windows end at noon and half a minute."""


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """An entry as the documents have it: no field more, none less."""

    rank: int
    previous_rank: int | None
    creator_id: str
    username: str
    score: float
    views: int
    likes: int
    dislikes: int
    videos: int
    last_active_at: datetime


class Shape(msgspec.Struct, forbid_unknown_fields=True):
    """The answer as the documents have it."""

    as_of: datetime
    window: str
    entries: list[Entry]


async def board(api: Api, window: str = "all", **parameters: Any) -> list[Entry]:
    """The entries of an answer that has the documented shape."""
    reply = await api.get(PATH, window=window, **parameters)
    assert reply.status == 200, reply.text
    answer = msgspec.json.decode(reply.body, type=Shape)
    assert answer.window == window
    return answer.entries


def figures(
    events: list[dict[str, Any]], start: datetime | None, end: datetime | None
) -> dict[str, tuple[int, int, int, int, datetime]]:
    """Views, likes, dislikes, videos and last activity of each creator with an action in [start, end)."""

    def inside(time: datetime) -> bool:
        return (start is None or start <= time) and (end is None or time < end)

    views: dict[str, int] = defaultdict(int)
    videos: dict[str, set[str]] = defaultdict(set)
    active: dict[str, datetime] = {}
    current: dict[tuple[str, str], tuple[datetime, str, str, str | None]] = {}
    for event in events:
        time, data = datetime.fromisoformat(event["time"]), event["data"]
        creator = data["creator_id"]
        if data["action"] in REACTIONS:
            place = (data["video_id"], data["user_id"])
            state = (time, event["id"], creator, REACTIONS[data["action"]])
            current[place] = max(state, current.get(place, state), key=lambda one: one[:2])
        if inside(time):
            views[creator] += data["action"] == "view"
            videos[creator].add(data["video_id"])
            active[creator] = max(time, active.get(creator, time))
    counted: dict[tuple[str, str | None], int] = defaultdict(int)
    for time, _, creator, reaction in current.values():
        counted[creator, reaction] += inside(time)
    return {
        name: (views[name], counted[name, "like"], counted[name, "dislike"], len(videos[name]), active[name])
        for name in active
    }


def ranks(found: dict[str, tuple[int, int, int, int, datetime]]) -> dict[str, int]:
    """The place of each creator."""
    order = sorted(found, key=lambda name: (-score(found[name]), -found[name][1], name.encode()))
    return {name: place for place, name in enumerate(order, start=1)}


def score(one: tuple[int, int, int, int, datetime]) -> float:
    """The documented formula, to the documented six decimals."""
    return round(100 * wilson(one[1], one[2]) * math.log10(10 + one[0]), 6)


def around_the_edges(chance: random.Random) -> datetime:
    """A time in the last 70 days or a little ahead, often at the edge of a window to the microsecond, or of a day or quarter of an hour."""
    edge = END - chance.choice([0, 1, 2, 7, 14, 30, 60]) * DAY
    just = chance.choice([timedelta(0), timedelta(microseconds=-1), 15 * MINUTE, -15 * MINUTE])
    midnight = (NOON - chance.randrange(64) * DAY).replace(hour=0)
    anywhere = NOON - timedelta(microseconds=chance.randrange(70 * 86_400_000_000))
    return min(chance.choice([edge + just, midnight + just, anywhere]), NOON + 10 * MINUTE)


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_board_agrees_with_a_count_of_the_events(api: Api, seed: int) -> None:
    chance = random.Random(seed)
    names = ["ann", "Bob", "ä", "c\\N", "'; --", *(f"creator {n}" for n in range(10))]
    sent: list[dict[str, Any]] = []
    end = END
    for part in range(2):
        events = []
        for _ in range(600):
            creator = chance.choice(names)
            events.append(
                api.view(
                    chance.choice(["view", "view", "like", "like", "dislike", "unlike", "undislike", "share"]),
                    around_the_edges(chance),
                    creator_id=creator,
                    video_id=f"{creator} {chance.randrange(3)}",
                    user_id=f"person {chance.randrange(12)}",
                )
            )
        await api.send(events)
        sent += events
        if part:  # after midnight every edge lies elsewhere, and what was ahead is not any more
            end = datetime(2026, 3, 11, 5, 30, tzinfo=UTC)
            api.clock.now = end - MINUTE
            await moved_on(api)
        for window in ("all", *DAYS):
            length = timedelta(days=DAYS.get(window, 0))
            span = (None, None) if window == "all" else (end - length, end)
            expected = figures(sent, *span)
            places = ranks(expected)
            before = {} if window == "all" else ranks(figures(sent, end - 2 * length, end - length))
            found = await board(api, window, limit=500)
            assert [one.rank for one in found] == list(range(1, len(expected) + 1)), window
            for one in found:
                name = one.creator_id
                assert (one.views, one.likes, one.dislikes, one.videos, one.last_active_at) == expected[name]
                assert one.score == pytest.approx(score(expected[name]), abs=1.1e-6)
                assert (one.rank, one.previous_rank) == (places[name], before.get(name)), (window, name)
                assert one.username == name


async def moved_on(api: Api) -> None:
    """Returns once the windows are those of the clock."""
    async with asyncio.timeout(20):
        while not (  # noqa: ASYNC110  (what is waited for has no event of its own)
            await standings(api.services.database, api.organization, "24h", limit=1)
        ).current_at(api.clock.now):
            await asyncio.sleep(0.01)


async def ladder(api: Api, number: int) -> list[str]:
    """Creators of whom each has more likes than the next; their names in the order of their rank."""
    names = [f"creator {n:02}" for n in range(number)]
    await api.send(
        [
            api.view("like", creator_id=name, video_id=name, user_id=f"person {person}")
            for place, name in enumerate(names)
            for person in range(number - place)
        ]
    )
    return names


async def test_around_somebody_at_the_top_in_the_middle_and_at_the_end(api: Api) -> None:
    names = await ladder(api, 11)

    async def shown(name: str, limit: int) -> list[str]:
        entries = await board(api, "24h", around=name, limit=limit)
        assert [one.rank for one in entries] == [names.index(one.creator_id) + 1 for one in entries]
        return [one.creator_id for one in entries]

    assert await shown(names[5], 5) == names[3:8]
    assert await shown(names[5], 4) == names[4:8]
    assert await shown(names[5], 1) == names[5:6]
    assert await shown(names[0], 5) == await shown(names[2], 5) == names[:5]
    assert await shown(names[10], 5) == await shown(names[8], 5) == names[6:]
    assert await shown(names[1], 4) == names[:4]
    assert await shown(names[9], 20) == names


async def test_somebody_who_is_not_ranked_is_not_found_and_says_so(api: Api) -> None:
    await api.send([api.view("view", NOON - 3 * DAY, creator_id="ann")])
    assert [one.creator_id for one in await board(api, "7d", around="ann")] == ["ann"]
    for parameters in ({"window": "24h", "around": "ann"}, {"around": "nobody"}, {"around": quote("ann") + " "}):
        reply = await api.get(PATH, **parameters)
        assert (reply.status, reply.json["parameter"]) == (404, "around"), parameters
        assert (
            reply.json["detail"]
            == f"around: nobody of that id is ranked in the window {parameters.get('window', 'all')}"
        )
        assert (await api.get("/api/v1/stream", leaderboard="creators", **parameters)).status == 404


async def test_pages_make_the_whole_board(api: Api) -> None:
    names = await ladder(api, 23)
    pages = [await board(api, "30d", offset=at, limit=10) for at in range(0, 40, 10)]
    assert [one.creator_id for page in pages for one in page] == names
    assert [len(page) for page in pages] == [10, 10, 3, 0]
    assert len(await board(api)) == 20


async def test_ties_go_to_more_likes_and_then_to_the_smaller_id(api: Api) -> None:
    # Equal scores with unequal likes need no likes at all, or a rounding: what differs in the seventh decimal only is equal.
    names = ["b", "a", "Z", "ä"]
    await api.send([api.view(action, creator_id=name, video_id=name) for name in names for action in ("like", "view")])
    await api.send([api.view("dislike", creator_id="0", video_id="0"), api.view("view", creator_id="1", video_id="1")])
    for window in ("all", *DAYS):
        found = await board(api, window)
        assert [one.creator_id for one in found] == ["Z", "a", "b", "ä", "0", "1"]
        assert len({one.score for one in found}) == 2
        assert [one.rank for one in found] == [1, 2, 3, 4, 5, 6]


async def test_previous_ranks_are_those_of_the_window_before(api: Api) -> None:
    def liked(name: str, times: int, when: datetime) -> list[dict[str, Any]]:
        return [
            api.view("like", when, creator_id=name, video_id=f"{name} {when:%d}", user_id=f"p{n}") for n in range(times)
        ]

    yesterday = NOON - DAY
    await api.send(liked("ann", 5, yesterday) + liked("bob", 3, yesterday) + liked("gone", 9, yesterday))
    await api.send(liked("bob", 5, NOON) + liked("ann", 3, NOON) + liked("new", 1, NOON))
    assert [(one.creator_id, one.previous_rank) for one in await board(api, "24h")] == [
        ("bob", 3),
        ("ann", 2),
        ("new", None),
    ]
    assert {one.previous_rank for one in await board(api, "7d")} == {None}
    assert [(one.creator_id, one.previous_rank) for one in await board(api)] == [
        (name, None) for name in ("gone", "ann", "bob", "new")
    ]


async def test_a_reaction_counts_where_its_latest_state_was_set(api: Api) -> None:
    await api.send([api.view("like", NOON - 10 * DAY), api.view("like", NOON - 10 * DAY, user_id="bob")])
    await api.send([api.view("dislike", NOON)])
    (month,), (day,) = await board(api, "30d"), await board(api, "24h")
    assert (month.likes, month.dislikes) == (1, 1)
    assert (day.likes, day.dislikes, day.previous_rank) == (0, 1, None)


async def test_an_empty_organization_has_empty_boards_and_sees_no_other(api: Api) -> None:
    async with another(api, "Other") as other:
        await api.send([api.view("like", creator_id="ours")])
        await other.send([other.view("view", creator_id="theirs")])
        async with another(api, "Empty") as empty:
            for window in ("all", *DAYS):
                assert await board(empty, window) == []
                assert [one.creator_id for one in await board(api, window)] == ["ours"]
                assert [(one.creator_id, one.rank) for one in await board(other, window)] == [("theirs", 1)]
            for reader in (other, empty):
                assert (await reader.get(PATH, around="ours")).status == 404


async def test_windows_move_on_although_nothing_comes(api: Api) -> None:
    await api.send([api.view("view", NOON, creator_id="ann")])
    (one,) = await board(api, "24h")
    assert one.creator_id == "ann"
    api.clock.now = NOON + DAY - MINUTE
    await moved_on(api)
    assert len(await board(api, "24h")) == 1
    api.clock.now = NOON + DAY + MINUTE
    await moved_on(api)
    assert await board(api, "24h") == []
    assert len(await board(api, "7d")) == len(await board(api)) == 1


async def test_the_stream_pushes_what_the_endpoint_answers(api: Api) -> None:
    names = await ladder(api, 5)
    asked: dict[str, Any] = {"window": "7d", "limit": 3, "around": names[3]}
    async with api.stream(leaderboard="creators", **asked) as stream:
        name, body = await stream.next() or ("", None)
        assert (name, body) == ("state", (await api.get(PATH, **asked)).json)
        assert [entry["creator_id"] for entry in body["entries"]] == names[2:]
        await api.send([api.view("like", creator_id=names[4], video_id=names[4], user_id=f"q{n}") for n in range(9)])
        _, body = await stream.next() or ("", None)
        assert body == (await api.get(PATH, **asked)).json
        assert [entry["creator_id"] for entry in body["entries"]] == [names[1], names[2], names[3]]
    await until(lambda: not api.services.hub._topics)


async def test_it_is_fresh_and_a_reader_with_the_same_board_is_told_304(api: Api) -> None:
    await api.send([api.view("view", creator_id="ann")])
    first = await api.get(PATH, window="24h")
    assert datetime.fromisoformat(first.json["as_of"]) <= datetime.now(UTC)
    again = await api.get(PATH, window="24h", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
