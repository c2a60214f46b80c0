"""`/users/{id}`: profiles in the shape of the video feed's document, their figures, and who may change and see what."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from api.auth.linking import ForeignIssuer
from storage import identity
from storage.named import load
from storage.profiles import usernames_of
from tests.integration.api_service import Api, Reply, make_organization, running
from tests.integration.foreign_issuers import World, believed

ANN = "0b3c2f5e-2f0d-4a5e-9a51-4c7b8ad1f001"
BOB = "0b3c2f5e-2f0d-4a5e-9a51-4c7b8ad1f002"


@dataclass
class Feed:
    """The video feed's users in their organization. `api` has its key; `outside` the key of another one."""

    api: Api
    outside: Api
    world: World
    url: str

    def user(self, sub: str = ANN, **claims: Any) -> dict[str, str]:
        return self.world.issuers["supabase by secret"].bearer(sub=sub, **claims)

    async def get(self, id_: str, sub: str = ANN) -> dict[str, Any]:
        reply = await self.api.get(f"/users/{id_}", headers=self.user(sub))
        assert reply.status == 200, reply.text
        return held(reply)

    async def patch(self, id_: str, change: Any, sub: str = ANN) -> Reply:
        return await self.api.request("PATCH", f"/users/{id_}", headers=self.user(sub), json=change)


def held(reply: Reply) -> dict[str, Any]:
    """Holds an answer against the document's interface UserProfile, and what stands there beside it."""
    body: dict[str, Any] = reply.json
    kinds: dict[str, tuple[type, ...]] = {
        "id": (str,),
        "username": (str,),
        "email": (str, type(None)),
        "avatarUrl": (str, type(None)),
        "videosCreated": (int,),
        "totalLikes": (int,),
        "totalDislikes": (int,),
        "lastActiveAt": (str, type(None)),
        "createdAt": (str, type(None)),
    }
    assert set(body) == set(kinds)
    assert all(isinstance(body[name], allowed) for name, allowed in kinds.items()), body
    assert all(datetime.fromisoformat(body[name]).tzinfo for name in ("lastActiveAt", "createdAt") if body[name])
    assert reply.headers["X-As-Of"]
    return body


@pytest.fixture
async def feed(database_url: str) -> AsyncIterator[Feed]:
    issuers: list[ForeignIssuer] = []
    async with believed() as world, running(database_url, issuers=issuers) as first:
        issuer = ForeignIssuer(world.verifiers["supabase by secret"], first.organization, profiles=True)
        async with running(database_url, known=first, issuers=[issuer], refreshing=False) as api:
            api.clock.now = datetime.now(UTC)
            organization, headers = await make_organization(api.services.database, "Other")
            outside = Api(api.url, api.services, api.clock, organization, api.session, headers)
            yield Feed(api, outside, world, database_url)


async def test_the_first_request_makes_a_profile_of_what_the_token_tells(feed: Feed) -> None:
    said = {"username": "ann", "full_name": "Ann Example", "avatar_url": "https://example.com/ann.png"}
    reply = await feed.api.get(f"/users/{ANN}", headers=feed.user(email="ann@example.com", user_metadata=said))
    mine = held(reply)
    assert (mine["id"], mine["username"], mine["email"]) == (ANN, "ann", "ann@example.com")
    assert (mine["avatarUrl"], mine["lastActiveAt"]) == ("https://example.com/ann.png", None)
    assert (mine["videosCreated"], mine["totalLikes"], mine["totalDislikes"]) == (0, 0, 0)
    assert datetime.fromisoformat(mine["createdAt"]) <= datetime.now(UTC)
    account = (await feed.api.get("/api/auth/me", headers=feed.user())).json["account"]
    # By the account's id it is the same person, and to others the address is not shown.
    assert await feed.get(account) == mine
    for reply in (await feed.api.get(f"/users/{ANN}", headers=feed.user(BOB)), await feed.api.get(f"/users/{ANN}")):
        assert held(reply) == {**mine, "email": None}
    assert "example.com" not in (await feed.api.get(f"/users/{BOB}", headers=feed.user(BOB))).text


async def test_usernames_are_unique_and_tell_no_address(feed: Feed) -> None:
    said = {"user_metadata": {"username": "Ann"}, "email": "secret.name@example.com"}
    for sub in (ANN, BOB):
        await feed.api.get("/api/auth/me", headers=feed.user(sub, **said))
    first, second = (await feed.get(ANN))["username"], (await feed.get(BOB, BOB))["username"]
    assert first == "Ann"
    assert second.startswith("Ann-")
    nameless = feed.user("c", email="secret.name@example.com", user_metadata={"full_name": "Secret Name"})
    third = held(await feed.api.get("/users/c", headers=nameless))["username"]
    assert third.startswith("creator-")
    both = {"user_metadata": {"username": "both"}}
    await asyncio.gather(*(feed.api.get("/api/auth/me", headers=feed.user(f"s{n}", **both)) for n in range(8)))
    names = [(await feed.get(f"s{n}"))["username"] for n in range(8)]
    assert len(set(names)) == 8
    assert "both" in names


async def test_one_changes_ones_own_profile(feed: Feed) -> None:
    await feed.api.get("/api/auth/me", headers=feed.user(BOB, user_metadata={"username": "Bob"}))
    await feed.api.get("/api/auth/me", headers=feed.user(user_metadata={"username": "ann"}))
    api = feed.api
    changed = held(await feed.patch(ANN, {"username": " Ann  B. ", "avatarUrl": "http://example.com/a.png"}))
    assert (changed["username"], changed["avatarUrl"]) == ("Ann  B.", "http://example.com/a.png")
    assert datetime.fromisoformat(changed["lastActiveAt"]) == api.clock.now
    assert await feed.get(ANN) == changed
    assert held(await feed.patch(ANN, {"username": "ANN"}))["avatarUrl"] == "http://example.com/a.png"
    assert held(await feed.patch(ANN, {"avatarUrl": None})) == {**changed, "username": "ANN", "avatarUrl": None}
    assert held(await feed.patch(ANN, {}))["username"] == "ANN"
    assert held(await feed.patch(ANN, {"username": "ann"}))["username"] == "ann"

    taken = await feed.patch(ANN, {"username": "BOB"})
    assert (taken.status, taken.json["error"]) == (409, "Conflict")
    for change, field in (
        ({"username": ""}, "username"),
        ({"username": "a\u200bb"}, "username"),
        ({"username": "x" * 65}, "username"),
        ({"username": None}, "username"),
        ({"avatarUrl": "javascript:alert(1)"}, "avatarUrl"),
        ({"avatarUrl": "/a.png"}, "avatarUrl"),
        ({"avatarUrl": "https://example.com/" + "x" * 2_048}, "avatarUrl"),
        ({"email": "root@example.com"}, "email"),
        ({"id": BOB}, "id"),
        ({"totalLikes": 1_000_000}, "totalLikes"),
        ([], "body"),
    ):
        reply = await feed.patch(ANN, change)
        assert (reply.status, reply.json["statusCode"]) == (422, 422), change
        assert reply.json["message"].startswith(f"{field}: "), reply.text
    assert (await feed.get(ANN))["username"] == "ann"
    assert (await feed.get(BOB))["username"] == "Bob"


async def test_nobody_changes_another_ones(feed: Feed) -> None:
    for sub in (ANN, BOB):
        await feed.api.get("/api/auth/me", headers=feed.user(sub))
    before = await feed.get(BOB)
    account = (await feed.api.get("/api/auth/me", headers=feed.user(BOB))).json["account"]
    for id_ in (BOB, account, "nobody", "top", BOB.upper()):
        assert (await feed.patch(id_, {"username": "thief"})).status == 403
    by_key = await feed.api.request("PATCH", f"/users/{BOB}", json={"username": "thief"})
    assert (by_key.status, by_key.json["statusCode"]) == (403, 403)
    assert (
        await feed.api.request("PATCH", f"/users/{BOB}", json={}, headers={"Authorization": "Bearer x"})
    ).status == 401
    assert await feed.get(BOB) == before


async def test_another_organization_sees_nobody(feed: Feed) -> None:
    await feed.api.get("/api/auth/me", headers=feed.user(user_metadata={"username": "ann"}))
    for id_ in (ANN, BOB, "a%00b", "x" * 256, "%F0%9F%98%80"):
        reply = await feed.outside.get(f"/users/{id_}")
        assert (reply.status, reply.json["message"]) == (404, "nobody of this organization has this id"), id_
    # A username is taken in one organization only.
    carl = await identity.create_account(feed.api.services.database, "carl@example.com", "hash")
    await identity.create_membership(feed.api.services.database, carl, feed.outside.organization, "member")
    token = feed.api.services.authenticator.tokens.issue(carl, now=datetime.now(UTC))
    headers = {"Authorization": f"Bearer {token}"}
    bare = held(await feed.api.get(f"/users/{carl}", headers=headers))
    assert (bare["username"], bare["email"], bare["createdAt"]) == (str(carl), "carl@example.com", None)
    reply = await feed.api.request("PATCH", f"/users/{carl}", json={"username": "ann"}, headers=headers)
    assert held(reply)["username"] == "ann"


async def test_figures_are_those_of_the_events_under_all_of_ones_names(feed: Feed) -> None:
    api, dice = feed.api, random.Random(7)
    account = (await api.get("/api/auth/me", headers=feed.user())).json["account"]
    creators = {ANN: [ANN, account], BOB: [BOB], "stranger": ["stranger"]}
    videos = {f"{name}-{number}": name for names in creators.values() for name in names for number in range(3)}
    start = api.clock.now - timedelta(hours=5)
    events, reactions, newest = [], {}, dict[str, datetime]()
    for number in range(400):
        video = dice.choice(list(videos))
        action = dice.choice(["view", "view", "like", "dislike", "unlike", "undislike", "share"])
        viewer, time = f"viewer-{dice.randrange(6)}", start + timedelta(seconds=number)
        events.append(api.view(action, time, video_id=video, creator_id=videos[video], user_id=viewer))
        newest[videos[video]] = time
        if action in ("like", "dislike"):
            reactions[video, viewer] = action
        elif action in ("unlike", "undislike"):
            # One person has one reaction to a video: the latest word counts, whatever it takes back.
            reactions.pop((video, viewer), None)
    await api.send(events)
    for id_, names in creators.items():
        found = await feed.get(id_)
        of = [action for (video, _), action in reactions.items() if videos[video] in names]
        assert (found["totalLikes"], found["totalDislikes"]) == (of.count("like"), of.count("dislike")), id_
        assert found["videosCreated"] == len(
            {e["data"]["video_id"] for e in events if e["data"]["creator_id"] in names}
        )
        assert datetime.fromisoformat(found["lastActiveAt"]) == max(newest[name] for name in names)
    stranger = await feed.get("stranger")
    assert (stranger["username"], stranger["createdAt"], stranger["email"]) == ("stranger", None, None)
    assert (await feed.outside.get("/users/stranger")).status == 404


async def test_usernames_for_a_board(feed: Feed) -> None:
    await feed.api.get("/api/auth/me", headers=feed.user(user_metadata={"username": "ann"}))
    account = (await feed.api.get("/api/auth/me", headers=feed.user())).json["account"]
    ids = [ANN, account, account.upper(), "somebody", "", "x" * 300]
    async with feed.api.services.database.read(feed.api.organization) as connection:
        assert await usernames_of(connection, ids) == {ANN: "ann", account: "ann"}
        assert await usernames_of(connection, []) == {}
    async with feed.api.services.database.read(feed.outside.organization) as connection:
        assert await usernames_of(connection, ids) == {}


@pytest.mark.parametrize("query", ["find_profile", "usernames"])
async def test_of_all_profiles_only_those_asked_for_are_read(feed: Feed, query: str) -> None:
    asked = {"account": ANN, "id": BOB, "accounts": [ANN], "ids": [BOB]}
    async with feed.api.services.database.read(feed.api.organization) as connection:
        await connection.execute("set local enable_seqscan = off")
        plan = "\n".join([row[0] async for row in await connection.execute("explain " + load("people")[query], asked)])
    assert "Filter" not in plan, plan
    assert "(organization = app.organization()) AND (account = ANY" in plan
    assert "Index Cond: (subject = " in plan


async def test_the_table_shows_its_rows_to_their_organization_only_whoever_reads(feed: Feed) -> None:
    await feed.api.get("/api/auth/me", headers=feed.user())
    with psycopg.connect(feed.url, autocommit=True) as connection:
        forced = connection.execute(
            "select relrowsecurity, relforcerowsecurity from pg_class where oid = 'store.profile'::regclass"
        ).fetchone()
        assert forced == (True, True)
        connection.execute(
            "do $$ begin create role profile_reader nologin; exception when duplicate_object then null; end $$"
        )
        connection.execute("grant usage on schema store, app to profile_reader")
        connection.execute("grant select on store.profile to profile_reader")
        connection.execute("grant execute on function app.organization() to profile_reader")
        try:
            for organization, count in ((feed.api.organization, 1), (feed.outside.organization, 0), (None, None)):
                with connection.transaction():
                    connection.execute("set local role profile_reader")
                    if organization is None:
                        with pytest.raises(psycopg.errors.InsufficientPrivilege):
                            connection.execute("select from store.profile")
                        break
                    connection.execute("select set_config('app.organization', %s, true)", (str(organization),))
                    assert connection.execute("select count(*) from store.profile").fetchone() == (count,)
        finally:
            connection.execute("drop owned by profile_reader")
            connection.execute("drop role profile_reader")
