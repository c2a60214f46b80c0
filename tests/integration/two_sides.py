"""Two organizations with random data in which every text has its owner's mark, and every question that either can ask."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from api.app import all_routes
from api.auth.tokens import OwnTokens
from api.routing import Route
from storage import identity
from tests.integration.api_service import SECRET, Api, Reply, another, utc_now
from tests.integration.people import new_address

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
