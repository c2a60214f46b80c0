"""People of other issuers: one account each from their first request on, in the right organization, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from api.auth.keys import mint
from api.auth.linking import ForeignIssuer
from api.auth.tokens import OwnTokens
from front.issuers import require_organizations
from front.settings import InvalidSetting, read
from storage import identity
from storage.database import Database
from tests.integration.api_service import SECRET as OWN_SECRET
from tests.integration.api_service import Api, running
from tests.integration.foreign_issuers import World, believed

PROFILE = "/api/v1/users/profile"


@dataclass
class Scene:
    """A service that believes Auth0, whose people get organizations of their own, and Supabase, whose people join `shared`."""

    api: Api
    world: World
    shared: UUID
    url: str

    def auth0(self, **claims: Any) -> dict[str, str]:
        return self.world.issuers["auth0"].bearer(**claims)

    def supabase(self, **claims: Any) -> dict[str, str]:
        return self.world.issuers["supabase by secret"].bearer(**claims)

    async def profile(self, headers: dict[str, str]) -> dict[str, Any]:
        reply = await self.api.get(PROFILE, headers=headers)
        assert reply.status == 200, reply.text
        found: dict[str, Any] = reply.json
        return found

    async def me(self, headers: dict[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = (await self.api.get("/api/auth/me", headers=headers)).json
        return found

    def rows(self, query: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]


def issuers(world: World, shared: UUID) -> list[ForeignIssuer]:
    return [
        ForeignIssuer(world.verifiers["auth0"]),
        ForeignIssuer(world.verifiers["supabase by secret"], shared, profiles=True),
    ]


async def shared_organization(url: str) -> UUID:
    database = Database(url)
    await database.open()
    try:
        return await identity.create_organization(database, "Shared")
    finally:
        await database.close()


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    shared = await shared_organization(database_url)
    async with believed() as world, running(database_url, issuers=issuers(world, shared)) as api:
        api.clock.now = datetime.now(UTC)
        yield Scene(api, world, shared, database_url)


async def test_the_first_request_makes_the_account_and_the_next_finds_it(scene: Scene) -> None:
    headers = scene.auth0(sub="auth0|1", email="ann@example.com", name="Ann")
    first = await scene.profile(headers)
    # The document's shape, created_at and updated_at in both answers.
    assert set(first) == {"id", "email", "name", "created_at", "updated_at"}
    assert (str(UUID(first["id"])), first["email"], first["name"]) == (first["id"], "ann@example.com", "Ann")
    assert datetime.fromisoformat(first["created_at"]) <= datetime.now(UTC)
    assert await scene.profile(scene.auth0(sub="auth0|1")) == first

    reply = await scene.api.request("PUT", PROFILE, headers=headers, json={"name": "  Ann Example "})
    assert (reply.status, reply.json["name"], reply.json["id"]) == (200, "Ann Example", first["id"])
    assert datetime.fromisoformat(reply.json["updated_at"]) > datetime.fromisoformat(first["updated_at"])
    assert await scene.profile(headers) == reply.json
    assert reply.headers["Cache-Control"] == "no-store"


BAD_NAMES: list[tuple[bytes, int, str | None]] = [
    (b'{"name": ""}', 422, "name"),
    (b'{"name": "  "}', 422, "name"),
    (b'{"name": "a\\u0000b"}', 422, "name"),
    (b'{"name": "' + b"x" * 256 + b'"}', 422, "name"),
    (b'{"name": null}', 422, "name"),
    (b'{"name": 7}', 422, "name"),
    (b"{}", 422, "name"),
    (b"[]", 422, "body"),
    (b'{"name": "Ann", "email": "root@example.com"}', 422, "email"),
    (b'{"name": "Ann", "id": 1}', 422, "id"),
    (b'{"name": ', 400, "body"),
    (b"", 400, "body"),
    (b'{"name": "\xff"}', 400, "body"),
    (b'{"x": ' + b"[" * 5_000, 422, "x"),
    (b'{"name": "' + b"x" * 20_000 + b'"}', 413, None),
]


async def test_a_name_that_is_none_changes_nothing(scene: Scene) -> None:
    headers = scene.auth0(sub="auth0|1", name="Ann")
    sent = {**headers, "Content-Type": "application/json"}
    for body, status, field in BAD_NAMES:
        reply = await scene.api.request("PUT", PROFILE, headers=sent, data=body)
        assert (reply.status, reply.json.get("parameter")) == (status, field), (body, reply.text)
    assert (await scene.api.request("PUT", PROFILE, headers=headers, data={"name": "Bob"})).status == 415
    assert (await scene.profile(headers))["name"] == "Ann"


async def test_a_key_is_no_person_and_our_own_tokens_have_profiles_too(scene: Scene) -> None:
    assert (await scene.api.get(PROFILE)).status == 403
    assert (await scene.api.get(PROFILE, headers={"Authorization": "Bearer x"})).status == 401
    database = scene.api.services.database
    ada = await identity.create_account(database, "ada@example.com", "hash", name="Ada")
    await identity.create_membership(database, ada, scene.shared, "member")
    own = {"Authorization": f"Bearer {OwnTokens(OWN_SECRET).issue(ada, now=datetime.now(UTC))}"}
    found = await scene.profile(own)
    assert (found["id"], found["email"], found["name"]) == (str(ada), "ada@example.com", "Ada")


async def test_many_first_requests_at_once_in_two_processes_make_one_account(scene: Scene) -> None:
    async with running(scene.url, clock=scene.api.clock, issuers=issuers(scene.world, scene.shared)) as second:
        tokens = [scene.auth0(sub="auth0|many"), scene.supabase(sub="many", user_metadata={"username": "many"})]
        replies = await asyncio.gather(
            *(api.get(PROFILE, headers=headers) for _ in range(10) for api in (scene.api, second) for headers in tokens)
        )
    assert {reply.status for reply in replies} == {200}
    assert len({reply.json["id"] for reply in replies}) == 2
    assert scene.rows("select count(*) from store.account") == [(2,)]
    assert scene.rows("select count(*) from store.external_subject") == [(2,)]
    assert scene.rows("select count(*) from store.membership") == [(2,)]
    assert scene.rows("select username from store.profile") == [("many",)]
    # Acme twice, the shared one, and one of their own.
    assert scene.rows("select count(*) from store.organization") == [(4,)]


async def test_new_people_join_the_organization_of_their_issuer_or_get_one_of_their_own(scene: Scene) -> None:
    bound = [await scene.me(scene.supabase(sub=sub)) for sub in ("a", "b")]
    assert [(me["organization"]["id"], me["role"]) for me in bound] == [(str(scene.shared), "member")] * 2
    alone = [await scene.me(scene.auth0(sub=sub)) for sub in ("a", "b")]
    assert [me["role"] for me in alone] == ["owner", "owner"]
    assert len({me["organization"]["id"] for me in alone}) == 2
    assert all(len(me["organizations"]) == 1 for me in (*bound, *alone))
    # The same name with two issuers is two people.
    assert len({me["account"] for me in (*bound, *alone)}) == 4
    for headers in (scene.supabase(sub="a"), scene.auth0(sub="a")):
        elsewhere = {**headers, "X-Organization-ID": str(scene.api.organization)}
        assert (await scene.api.get("/api/v1/rollups", headers=elsewhere)).status == 403


async def test_an_email_address_opens_nobodys_account(scene: Scene) -> None:
    database = scene.api.services.database
    root = await identity.create_account(database, "root@example.com", "hash", deployment_admin=True)
    claimed = {"email": "Root@Example.com", "email_verified": True}
    people = [
        await scene.me(scene.auth0(sub="auth0|thief", **claimed)),
        await scene.me(scene.supabase(sub="thief", user_metadata={"email": "root@example.com"}, **claimed)),
    ]
    assert str(root) not in {me["account"] for me in people}
    assert len({me["account"] for me in people}) == 2
    assert [me["role"] for me in people] == ["owner", "member"]
    assert [me["email"] for me in people] == ["Root@Example.com"] * 2
    found = await identity.find_account(database, "root@example.com")
    assert found is not None
    assert found.id == root
    # Neither has a password, nor an address to sign in with.
    assert scene.rows("select count(*) from store.account where email is not null or password_hash is not null") == [
        (1,)
    ]


async def test_claims_that_users_write_give_no_rights(scene: Scene) -> None:
    claims = {
        "user_metadata": {"role": "owner", "organization": str(scene.api.organization), "deployment_admin": True},
        "app_metadata": {"role": "admin"},
        "organization_id": str(scene.api.organization),
        "scope": "admin read:everything",
    }
    me = await scene.me(scene.supabase(sub="a", **claims))
    assert (me["organization"]["id"], me["role"], len(me["organizations"])) == (str(scene.shared), "member", 1)


async def test_who_was_removed_does_not_come_back_by_another_token(scene: Scene) -> None:
    me = await scene.me(scene.supabase(sub="a"))
    async with scene.api.services.database.owner() as connection:
        await connection.execute("delete from store.membership where account = %s", (me["account"],))
    async with asyncio.timeout(10):
        while (await scene.api.get("/api/auth/me", headers=scene.supabase(sub="a"))).status != 401:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert scene.rows("select count(*) from store.account") == [(1,)]


async def test_the_newest_tokens_address_counts(scene: Scene) -> None:
    now = datetime.now(UTC)

    async def email(address: str | None, age_s: int) -> Any:
        headers = scene.auth0(sub="a", email=address, iat=now - timedelta(seconds=age_s))
        await scene.profile(headers)
        return (await scene.profile(headers))["email"]

    assert await email(None, 100) is None
    assert await email("new@example.com", 50) == "new@example.com"
    assert await email("old@example.com", 90) == "new@example.com"
    assert await email(None, 10) == "new@example.com"
    assert await email("newest@example.com", 5) == "newest@example.com"


async def test_a_member_sees_the_trades_under_all_of_their_names_and_no_others(scene: Scene) -> None:
    api, subject = scene.api, "6f1c1c1e-6f0e-4a52-9f53-0f1d8c7a1b11"
    headers = scene.supabase(sub=subject)
    account = (await scene.me(headers))["account"]
    other = (await scene.me(scene.supabase(sub="other")))["account"]
    shared = Api(api.url, api.services, api.clock, scene.shared, api.session, await key_of(scene))
    closed = api.clock.now - timedelta(minutes=1)
    names = {account: "1", subject: "10", other: "100", "other": "1000", "somebody": "10000"}
    await shared.send([shared.trade(closed, pnl, user_id=name) for name, pnl in names.items()])

    async def net(**more: Any) -> Any:
        return (await api.query("trade_pnl", measures="net", headers=headers, **more)).rows

    assert await net() == [[11]]
    assert await net(filter=f"user_id:{subject}") == [[10]]
    assert await net(filter=f"user_id:{subject},{account}") == [[11]]
    for wanted in (other, "other", "somebody", f"{subject},other", ""):
        reply = await api.query("trade_pnl", measures="net", headers=headers, filter=f"user_id:{wanted}")
        assert (reply.status, reply.json["parameter"]) == (403, "filter")
    for wanted, total in ((None, 11), ("all", 11), (subject, 10), (account, 1)):
        asked = {} if wanted is None else {"user_id": wanted}
        assert (await api.get("/api/unify/v1/metrics", headers=headers, **asked)).json["totalPnL"] == total
    assert (await api.get("/api/unify/v1/metrics", headers=headers, user_id="other")).status == 403
    async with api.stream(headers=headers, rollup="trade_pnl", measures="net") as state:
        assert ((await state.next()) or ("", {}))[1]["rows"] == [[11]]
    async with api.stream(headers=headers, mode="events") as events:
        await events.placed()
        told = [shared.trade(closed, "3", user_id=account), shared.trade(closed, "3", user_id=subject)]
        await shared.send(
            [shared.trade(closed, "2", user_id=other), told[0], shared.trade(closed, "2", user_id="x"), told[1]]
        )
        assert await events.ids(2) == [event["id"] for event in told]


async def key_of(scene: Scene) -> dict[str, str]:
    """The headers of a key of the shared organization."""
    key = mint()
    await identity.create_api_key(
        scene.api.services.database,
        scene.shared,
        "Key",
        prefix=key.prefix,
        key_digest=key.digest,
        scopes=["read", "events:write"],
    )
    return {"Authorization": f"Bearer {key.text}"}


async def test_without_the_issuers_keys_one_is_told_to_come_back(database_url: str) -> None:
    shared = await shared_organization(database_url)
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(believed())
        api = await stack.enter_async_context(running(database_url, issuers=issuers(world, shared)))
        await world.servers["auth0"].stop()
        reply = await api.get(PROFILE, headers=world.issuers["auth0"].bearer())
        assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
        assert "127.0.0.1" not in reply.text
        assert (await api.get(PROFILE, headers=world.issuers["supabase by secret"].bearer())).status == 200
        # Who is not believed at all is told so.
        stranger = world.issuers["supabase by secret"].bearer(iss="https://evil.example.com/")
        assert (await api.get(PROFILE, headers=stranger)).status == 401


async def test_an_organization_that_does_not_exist_is_told_at_the_start(scene: Scene) -> None:
    database = scene.api.services.database
    base = {"SUPABASE_URL": "https://acme.supabase.co", "AUTH0_DOMAIN": "a.example.com", "AUTH0_AUDIENCE": "a"}
    await require_organizations(read(base), database)
    good = {**base, "STREAMGAUGE_SUPABASE_ORGANIZATION": str(scene.shared)}
    await require_organizations(read(good), database)
    missing = {**good, "STREAMGAUGE_AUTH0_ORGANIZATION": "6f1c1c1e-6f0e-4a52-9f53-0f1d8c7a1b11"}
    with pytest.raises(InvalidSetting, match=r"^STREAMGAUGE_AUTH0_ORGANIZATION: "):
        await require_organizations(read(missing), database)
