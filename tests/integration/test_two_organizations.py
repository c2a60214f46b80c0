"""Two organizations with random data: nothing that either can ask for, or is pushed, holds a byte of the other's."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from api.app import all_routes
from api.auth.tokens import OwnTokens
from api.routing import Route
from storage import identity
from tests.integration.api_service import SECRET, Api, Reply, another, utc_now
from tests.integration.people import new_address
from tests.integration.socket_client import Socket, connected

PUSHED = {"/api/v1/stream", "/ws", "/ws/dashboard"}
NEEDED = {
    "/api/v1/query": {
        "rollup": "trade_pnl",
        "group_by": "user_id,broker,symbol,strategy,currency",
        "from": "2026-03-01",
    },
    "/api/v1/events/sequence": {"type": "system", "source": "s"},
    "/api/unify/v1/analytics/trades": {
        "group_by": "user_id,broker,symbol,strategy",
        "recent": "50",
        "time_range": "all",
    },
    "/api/unify/v1/metrics": {"time_range": "all"},
    "/api/unify/v1/analytics/strategies": {"time_range": "all"},
    "/api/v1/leaderboards/creators": {"window": "all"},
    "/signin": {"token": "none"},
}
"""What a question needs to be one, and asks for as much as there is."""
ROLLUPS = {
    "system_metrics": "host,metric",
    "enterprise_metrics": "team_type,metric",
    "trade_pnl": "user_id,broker,symbol,strategy,currency",
    "video_engagement": "creator_id,video_id",
    "api_requests": "host,method,route",
}


@dataclass
class Side:
    """An organization: who asks for it, every text that is its own (`words`) and those of them that a stranger may guess (`names`)."""

    api: Api
    mark: str
    callers: dict[str, dict[str, str]] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    names: list[str] = field(default_factory=list)

    def foreign_to(self, text: str, sent: str = "") -> list[str]:
        """Those of its words that stand in a text to another organization, which may get back what it sent."""
        return [word for word in self.words if word in text and word not in sent]


async def side(api: Api, mark: str, rng: random.Random) -> Side:
    """Random data in which every text has the mark, and three callers."""
    made = Side(api, mark, {"key": api.headers})
    database, now = api.services.database, api.clock.now
    made.words |= {mark, str(api.organization)}
    made.names += [str(api.organization)]
    for role in ("owner", "member"):
        email = new_address(f"{mark}-{role}")
        account = await identity.create_account(database, email, "hash", name=f"{mark}-{role}")
        await identity.create_membership(database, account, api.organization, role)  # type: ignore[arg-type]
        made.callers[role] = {"Authorization": f"Bearer {OwnTokens(SECRET).issue(account, now=utc_now())}"}
        made.words.add(str(account))
        made.names.append(str(account))

    def text(kind: str) -> str:
        return f"{mark}-{kind}-{rng.randrange(5)}"

    def past() -> datetime:
        return now - timedelta(minutes=rng.randrange(1, 3 * 24 * 60))

    events: list[dict[str, Any]] = []
    for number in range(rng.randrange(60, 120)):
        one = rng.randrange(5)
        if one == 0:
            event = api.system(text("host"), past(), cpu_usage=rng.randrange(100), error_rate=rng.random())
        elif one == 1:
            event = api.enterprise(past(), team=text("team"), green_score=rng.randrange(100))
        elif one == 2:
            event = api.view(
                rng.choice(["view", "like", "dislike"]),
                past(),
                creator_id=text("c"),
                video_id=text("v"),
                user_id=text("u"),
            )
        elif one == 3:
            event = api.system(f"{mark}-api GET /{mark}", past(), **{"api.request_time": 5, "api.requests": 1})
        else:
            names = {name: text(name) for name in ("user_id", "broker", "symbol", "strategy")}
            event = api.trade(past(), str(rng.randrange(-500, 500)), trade_id=f"{mark}-{number}", **names)
        events.append({**event, "id": f"{mark}-{number}", "source": f"{mark}-source"})
    events.append({**api.system(text("host"), cpu_usage=1), "source": f"{mark}-numbered", "sequence": rng.randrange(9)})
    await api.send(events)
    made.names += [f"{mark}-{kind}-{rng.randrange(5)}" for kind in ("host", "c", "user_id", "broker")] + [
        f"{mark}-numbered"
    ]

    async def asked(method: str, path: str, body: dict[str, Any], caller: str = "owner") -> Any:
        reply = await api.request(method, path, json=body, headers=made.callers[caller])
        assert reply.status in (200, 201), reply.text
        return reply.json

    deployment = {"service": text("service"), "version": text("version"), "environment": mark}
    found = await asked("POST", "/api/v1/deployments", deployment, "key")
    for path, body in (
        ("/api/v1/api-keys", {"name": text("key"), "scopes": ["read"]}),
        (f"/api/v1/organizations/{api.organization}/invitations", {"email": new_address(f"{mark}-guest")}),
    ):
        found |= {f"{path} {name}": value for name, value in (await asked("POST", path, body)).items()}
    ids = [value for name, value in found.items() if name == "id" or name.endswith(" id")]
    assert len(ids) == 3
    made.words |= set(ids)
    made.names += ids
    await api.request(
        "PATCH", f"/users/{made.names[1]}", json={"username": f"{mark}name"}, headers=made.callers["owner"]
    )
    return made


@pytest.fixture
async def sides(api: Api) -> AsyncIterator[tuple[Side, Side]]:
    seed = 20_260_324
    rng = random.Random(seed)
    api.clock.now = utc_now()
    async with another(api, "zqother organization") as other:
        other.numbers = api.numbers
        yield await side(api, "zqours", rng), await side(other, "zqtheirs", rng)


def gets(api: Api) -> list[Route]:
    return [route for route in all_routes(api.services) if route.method == "GET" and route.path not in PUSHED]


def questions(route: Route, names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Path and parameters: the plain question, each of these names in the path, and each in each parameter."""
    needed = NEEDED.get(route.path, {})
    for name in names if "{" in route.path else [""]:
        yield re.sub(r"{\w+}", name, route.path), needed
    if route.path == "/api/v1/query":
        for rollup, keys in ROLLUPS.items():
            for more in ({}, {"grain": "1d"}, {"fill": "zero", "grain": "1d"}):
                yield (
                    route.path,
                    {"rollup": rollup, "group_by": keys, "from": str(utc_now().date() - timedelta(days=5)), **more},
                )
            for key in keys.split(","):
                for name in names:
                    yield route.path, {"rollup": rollup, "filter": f"{key}:{name}"}
    if route.query is not None:
        path = re.sub(r"{\w+}", names[0], route.path)
        for parameter in msgspec.structs.fields(route.query):
            for name in names:
                yield path, {**needed, parameter.encode_name: name}


async def ask(side: Side, caller: str, path: str, parameters: dict[str, str], **headers: str) -> Reply:
    sent = {**side.callers[caller], **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with side.api.session.request(
        "GET", side.api.url + path, params=parameters, headers=sent, allow_redirects=False
    ) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


async def test_no_answer_header_or_error_holds_a_byte_of_the_other(sides: tuple[Side, Side]) -> None:
    told: set[str] = set()
    for ours, theirs in (sides, sides[::-1]):
        for route in gets(ours.api):
            for path, parameters in questions(route, theirs.names):
                sent = f"{path} {parameters}"
                for caller in ours.callers if parameters == NEEDED.get(route.path, {}) else ["owner"]:
                    reply = await ask(ours, caller, path, parameters)
                    assert reply.status < 500 or route.path == "/health/detailed", (sent, reply.text)
                    shown = f"{reply.text}\n{reply.headers}"
                    assert theirs.foreign_to(shown, sent) == [], (caller, sent, shown[:1_000])
                    if ours.mark in shown:
                        told.add(route.path)
            # What names one's own must come, or there would have been nothing to hold back.
            for path, parameters in questions(route, ours.names):
                reply = await ask(ours, "owner", path, parameters)
                if ours.mark in reply.text.replace(f"{path} {parameters}", ""):
                    told.add(route.path)
    assert told >= {
        "/api/v1/query",
        "/api/v1/deployments",
        "/api/unify/v1/analytics/trades",
        "/api/unify/v1/analytics/strategies",
        "/api/v1/leaderboards/creators",
        "/users/top",
        "/users/{id}",
        "/api/v1/users/profile",
        "/api/unify/v1/user/profile",
        "/api/auth/me",
        "/api/v1/organizations/{organization}/members",
        "/api/v1/organizations/{organization}/invitations",
        "/api/v1/api-keys",
        "/api/v1/audit",
    }, told


async def test_another_organization_in_header_or_parameter_is_refused_in_the_same_words_as_none(
    sides: tuple[Side, Side],
) -> None:
    ours, theirs = sides
    for caller in ours.callers:
        for path, name in (("/api/v1/enterprise/metrics", "organization_id"), ("/users/top", "X-Organization-ID")):
            answers = []
            for organization in (theirs.api.organization, UUID(int=7)):
                given = {name: str(organization)}
                reply = await (
                    ask(ours, caller, path, given)
                    if name == "organization_id"
                    else ask(ours, caller, path, {}, **given)
                )
                answers.append((reply.status, reply.body))
            assert answers[0] == answers[1]
            assert answers[0][0] == 403
        for kind in ("", "/members", "/invitations"):
            found = [
                await ask(ours, caller, f"/api/v1/organizations/{organization}{kind}", {})
                for organization in (theirs.api.organization, UUID(int=7))
            ]
            assert found[0].status == found[1].status
            assert found[0].status in (403, 404)
            assert found[0].body == found[1].body


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
