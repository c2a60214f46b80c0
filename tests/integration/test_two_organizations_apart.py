"""Two organizations with random data: kept answers, cursors, links, streams and sockets of one open nothing of the other's."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from tests.integration.api_service import utc_now
from tests.integration.socket_client import Socket, connected
from tests.integration.two_sides import ROLLUPS, Side, ask, gets, questions


async def test_an_equal_question_has_no_equal_answer_and_no_shared_etag(sides: tuple[Side, Side]) -> None:
    """Asked in turns, so that a kept answer of the one is there when the other asks."""
    ours, theirs = sides
    compared = 0
    for route in gets(ours.api):
        for path, parameters in questions(route, [ours.names[0]]):
            one = await ask(ours, "key", path, parameters)
            two = await ask(theirs, "key", path, parameters)
            again = await ask(ours, "key", path, parameters)
            if one.status != 200 or "ETag" not in one.headers or "ETag" not in two.headers:
                continue
            if one.body == two.body:
                # What says nothing of anybody: the catalogue, a page, empty figures.
                assert ours.mark not in one.text
                continue
            compared += 1
            assert one.headers["ETag"] != two.headers["ETag"], path
            assert theirs.foreign_to(again.text, str(parameters)) == []
            conditional = await ask(ours, "key", path, parameters, If_None_Match=two.headers["ETag"])
            assert conditional.status == 200, path
            assert theirs.foreign_to(conditional.text, str(parameters)) == []
    assert compared > 10


async def test_places_of_one_open_nothing_of_the_other(sides: tuple[Side, Side]) -> None:
    """Cursors of pages and of streams, and links to one's own things."""
    for ours, theirs in (sides, sides[::-1]):
        used = 0
        for rollup, keys in ROLLUPS.items():
            asked = {
                "rollup": rollup,
                "group_by": keys,
                "limit": "1",
                "from": str(utc_now().date() - timedelta(days=5)),
            }
            cursor = (await ask(theirs, "key", "/api/v1/query", asked)).json["cursor"]
            if cursor is not None:
                used += 1
                reply = await ask(ours, "key", "/api/v1/query", {**asked, "cursor": cursor})
                assert theirs.foreign_to(reply.text, cursor) == []
        assert used > 2
        for path, parameters in (
            ("/api/unify/v1/analytics/trades", {"recent": "1", "time_range": "all"}),
            ("/api/v1/audit", {"limit": "1"}),
        ):
            cursors = re.findall(r'"\w*cursor":"([^"]+)"', (await ask(theirs, "owner", path, parameters)).text)
            for cursor in cursors:
                reply = await ask(ours, "owner", path, {**parameters, "cursor": cursor})
                assert theirs.foreign_to(reply.text, cursor) == []
        async with theirs.api.stream(mode="events") as stream:
            await stream.placed()
            place = stream.last_event_id
        last = {**ours.api.system("after", cpu_usage=1), "id": f"{ours.mark}-after"}
        async with ours.api.stream(mode="events", last_event_id=place) as stream:
            await theirs.api.send([{**theirs.api.system(theirs.mark, cpu_usage=1), "id": f"{theirs.mark}-late"}])
            await ours.api.send([last])
            seen = ""
            while f"{ours.mark}-after" not in seen:
                event = await stream.next()
                assert event is not None
                seen += f"{event}{stream.last_event_id}"
                if event[0] == "reset":
                    break
            assert theirs.foreign_to(seen, place) == []


async def until(socket: Socket, word: str) -> str:
    """All that came, up to the message with this word."""
    seen = ""
    async with asyncio.timeout(20):
        while word not in seen:
            seen += str(await socket.next(20))
    return seen


async def test_what_is_pushed_to_one_holds_nothing_of_the_other(sides: tuple[Side, Side]) -> None:
    ours, theirs = sides
    end = f"{ours.mark}-end"
    async with AsyncExitStack() as stack:
        asked: list[dict[str, Any]] = [
            {"rollup": rollup, "group_by": keys} for rollup, keys in ROLLUPS.items() if rollup != "api_requests"
        ]
        # Named as the other's, too: nothing comes of it but nothing.
        streams = [await stack.enter_async_context(ours.api.stream(**one)) for one in asked]
        events = await stack.enter_async_context(ours.api.stream(mode="events"))
        board = await stack.enter_async_context(ours.api.stream(leaderboard="creators", window="all"))
        named = await stack.enter_async_context(
            ours.api.stream(rollup="system_metrics", group_by="host", filter=f"host:{theirs.names[3]}")
        )
        figures = await stack.enter_async_context(connected(ours.api, "/ws", headers=ours.callers["owner"]))
        panel = await stack.enter_async_context(connected(ours.api, "/ws/dashboard", headers=ours.callers["owner"]))
        await panel.send(type="subscribe", topics=["metrics", "deployments"])
        await events.placed()
        for sender, mark in ((theirs, theirs.mark), (ours, end)):
            await sender.api.send(
                [
                    {**sender.api.system(mark, cpu_usage=7), "id": mark},
                    {**sender.api.enterprise(team=mark, green_score=7), "id": mark},
                    {**sender.api.trade(utc_now(), "7", user_id=mark, trade_id=mark), "id": mark},
                    {**sender.api.view("like", creator_id=mark, user_id=mark), "id": mark},
                ]
            )
            deployment = {"service": mark, "version": "1", "environment": mark}
            assert (await sender.api.request("POST", "/api/v1/deployments", json=deployment)).status == 201
        seen = ""
        for stream in (*streams, events, board):
            part = ""
            while end not in part:
                part += str(await stream.next(20))
            seen += part
        seen += await until(panel, end)
        seen += str(await figures.next())
        seen += str(await named.next())
    assert theirs.foreign_to(seen, theirs.names[3]) == []


async def test_what_operations_show_is_nobodys(sides: tuple[Side, Side]) -> None:
    words = {word for one in sides for word in one.words}
    api = sides[0].api
    for path in (
        "/metrics",
        "/health",
        "/health/detailed",
        "/api/performance",
        "/cache/metrics",
        "/openapi.json",
        "/docs",
        "/",
    ):
        for caller in sides[0].callers:
            reply = await ask(sides[0], caller, path, {})
            assert [word for word in words if word in f"{reply.text}{reply.headers}"] == [], path
    assert api.services.cache is not None
