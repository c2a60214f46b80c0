"""`GET /users/top`: creators by a score that is computed here by another way, ties in a fixed order, one reaction a person."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.api_service import NOON, Api


def wilson(likes: int, dislikes: int) -> float:
    """The lower bound of the 95 % Wilson interval, as the smaller root p of (x - p)² = z² p (1 - p) / n (Wilson 1927)."""
    n = likes + dislikes
    if not n:
        return 0.0
    z, share = 1.959963984540054, likes / n
    a, b, c = 1 + z * z / n, -(2 * share + z * z / n), share * share
    return (-b - math.sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a)


async def top(api: Api, **parameters: Any) -> list[dict[str, Any]]:
    reply = await api.get("/users/top", **parameters)
    assert reply.status == 200, reply.text
    found: list[dict[str, Any]] = reply.json
    return found


async def test_scores_follow_the_formula(api: Api) -> None:
    chance = random.Random(5)
    events, expected = [], {}
    for number in range(40):
        creator, views = f"creator {number}", chance.randrange(60)
        likes, dislikes = chance.choice([0, 0, 1, 3, 20]), chance.choice([0, 0, 1, 9])
        people = [f"person {n}" for n in range(likes + dislikes)]
        events += [api.view("view", creator_id=creator, video_id=f"{number}/{n % 3}") for n in range(views)]
        events += [api.view("like", creator_id=creator, video_id=f"{number}/0", user_id=who) for who in people[:likes]]
        events += [
            api.view("dislike", creator_id=creator, video_id=f"{number}/0", user_id=who) for who in people[likes:]
        ]
        if views + likes + dislikes:
            expected[creator] = (100 * wilson(likes, dislikes) * math.log10(10 + views), likes, dislikes, views)
    chance.shuffle(events)
    await api.send(events)
    found = await top(api, limit=500)
    assert len(found) == len(expected)
    for place, entry in enumerate(found, start=1):
        score, likes, dislikes, views = expected[entry["id"]]
        assert entry["rank"] == place
        assert (entry["totalLikes"], entry["totalDislikes"], entry["totalViews"]) == (likes, dislikes, views)
        assert float(entry["creator_score"]) == pytest.approx(score, abs=2e-6)
        assert entry["creator_score"] >= 0
        assert entry["videosCreated"] == min(3, max(views, int(likes + dislikes > 0)))
        assert (entry["username"], entry["email"], entry["createdAt"]) == (entry["id"], None, None)
    order = sorted(expected, key=lambda name: (-round(expected[name][0], 9), -expected[name][1], name))
    assert [entry["id"] for entry in found] == order
    assert await top(api) == found[:20]
    assert await top(api, limit=1) == found[:1]


async def test_ties_go_to_more_likes_and_then_to_the_smaller_id(api: Api) -> None:
    await api.send([api.view("view", creator_id=name, video_id=name) for name in ("b", "a", "Z", "ä")])
    await api.send([api.view("dislike", creator_id="0", video_id="0", user_id=who) for who in "xyz"])
    found = await top(api)
    assert [(entry["id"], entry["creator_score"]) for entry in found] == [
        (name, 0) for name in ("0", "Z", "a", "b", "ä")
    ]


async def test_a_persons_latest_reaction_counts_by_time_and_id(api: Api) -> None:
    async def reactions() -> tuple[int, int]:
        (entry,) = await top(api)
        return entry["totalLikes"], entry["totalDislikes"]

    second = timedelta(seconds=1)
    await api.send([api.view("like", NOON, "m"), api.view("view", NOON)])
    assert await reactions() == (1, 0)
    await api.send([api.view("dislike", NOON - second, "z")])
    assert await reactions() == (1, 0)
    await api.send([api.view("dislike", NOON, "n"), api.view("like", NOON, "a")])
    assert await reactions() == (0, 1)
    await api.send([api.view("undislike", NOON + second)])
    assert await reactions() == (0, 0)
    await api.send([api.view("like", NOON + 2 * second), api.view("like", NOON + 2 * second, user_id="bob")])
    assert await reactions() == (2, 0)
    session = api.view("like", NOON + 2 * second, session_id="ann")
    del session["data"]["user_id"]
    await api.send([session, api.view("unlike", NOON + 3 * second, user_id="bob")])
    assert await reactions() == (2, 0)
    (entry,) = await top(api)
    assert entry["lastActiveAt"] == "2026-03-10T12:00:03Z"
    assert entry["videosCreated"] == 1


async def test_nobody_is_on_an_empty_board(api: Api) -> None:
    assert await top(api) == []
