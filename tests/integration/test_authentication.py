"""Credentials over HTTP: tokens, keys, organizations and tickets, and everything that must not let anybody in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from api.auth.authenticate import Authenticator
from api.auth.keys import mint
from api.auth.principal import Principal
from storage import identity
from storage.database import Database
from tests.integration.identity_service import SAME_ORIGIN, Service, body, running, status


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[Service]:
    async with running(database_url) as service:
        yield service


async def test_bad_credentials_are_refused_and_none_is_none(service: Service) -> None:
    client = service.browser()
    key = service.key.text
    bad = [
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer " + "a" * 7000},
        {"Authorization": "Bearer é"},
        {"Authorization": f"Bearer {key[:-1]}{'A' if key[-1] != 'A' else 'B'}"},
        {"Authorization": f"Bearer {mint().text}"},
        {"X-API-Key": f"sg_{service.key.prefix}_"},
        {"X-API-Key": ""},
        {"X-API-Key": "é"},
        {"Authorization": f"Bearer {service.authenticator.tokens.issue(uuid4(), now=service.clock.now)}"},
    ]
    for headers in bad:
        assert await status(client, headers=headers) == 401, headers
    assert await status(client) == 401
    assert await status(client, "/api/auth/logout", method="POST") == 204


async def test_a_key_acts_for_its_organization_only(service: Service) -> None:
    client = service.browser()
    for headers in ({"X-API-Key": service.key.text}, {"Authorization": f"Bearer {service.key.text}"}):
        me = await body(client, headers=headers)
        assert (me["account"], me["email"], me["role"], me["scopes"]) == (None, None, "key", ["read"])
        assert [organization["id"] for organization in me["organizations"]] == [str(service.acme)]
        assert await status(client, headers=headers | {"X-Organization-ID": str(service.acme)}) == 200
        assert await status(client, headers=headers | {"X-Organization-ID": str(service.other)}) == 403


async def test_a_revoked_key_stops_working_within_a_second(service: Service) -> None:
    client = service.browser()
    key = {"X-API-Key": service.key.text}
    assert await status(client, headers=key) == 200
    principal = Principal(None, service.acme, "key", frozenset({"read"}), key=service.key.prefix)
    assert await service.authenticator.holds(principal)
    async with service.database.owner() as connection:
        await connection.execute("update store.api_key set revoked_at = now()")
    service.clock.seconds += 1
    assert await status(client, headers=key) == 401
    assert not await service.authenticator.holds(principal)


async def test_only_members_and_the_admin_switch_organization_by_header(service: Service) -> None:
    client = service.browser()
    ada, root = await service.token(), await service.token("root@example.com")
    to_other = {"X-Organization-ID": str(service.other)}
    assert await status(client, headers=ada | {"X-Organization-ID": str(service.acme)}) == 200
    assert await status(client, headers=ada | to_other) == 403
    me = await body(client, headers=root | to_other)
    assert (me["organization"]["name"], me["role"]) == ("Other", "admin")
    assert await status(client, headers=root | {"X-Organization-ID": str(uuid4())}) == 403
    for text in ("", "Acme", "é", str(service.acme)[:-1]):
        async with client.get("/api/auth/me", headers=ada | {"X-Organization-ID": text}) as answer:
            assert (answer.status, (await answer.json())["parameter"]) == (400, "X-Organization-ID")

    await identity.create_membership(service.database, service.ada, service.other, "member")
    assert (await body(client, headers=ada | to_other))["role"] == "member"


async def test_a_removed_member_is_out_within_a_second(service: Service) -> None:
    client, ada = service.browser(), await service.token()
    browser = await service.signed_in()
    assert await status(client, headers=ada) == await status(browser) == 200
    async with service.database.owner() as connection:
        await connection.execute("delete from store.membership where account = %s", (service.ada,))
    service.clock.seconds += 1
    assert await status(client, headers=ada) == await status(browser) == 401


async def ticket(client: aiohttp.ClientSession, headers: dict[str, str]) -> str:
    answer = await body(client, "/api/v1/stream/tickets", method="POST", headers=headers)
    assert answer["expires_in"] == 60
    text: str = answer["ticket"]
    return f"/api/v1/stream?ticket={text}"


@pytest.mark.parametrize("by", ["key", "token", "cookie"])
async def test_a_ticket_stands_for_its_caller_once(service: Service, by: str) -> None:
    if by == "cookie":
        client, headers = await service.signed_in(), SAME_ORIGIN
    else:
        client, headers = service.browser(), {"X-API-Key": service.key.text} if by == "key" else await service.token()
    stranger = service.browser()
    url = await ticket(client, headers)
    assert await status(client, "/anything", method="GET", headers=headers) == 200
    assert await status(stranger, url.replace("/api/v1/stream", "/anything")) == 401
    assert await status(stranger, url) == 200
    assert service.seen[0] == service.seen[1]
    assert await status(stranger, url) == 401
    url = await ticket(client, headers)
    assert await status(stranger, url, headers={"X-Organization-ID": str(service.other)}) == 403
    url = await ticket(client, headers)
    service.clock.now += timedelta(seconds=60)
    assert await status(stranger, url) == 401
    assert await status(stranger, "/api/v1/stream?ticket=%C3%A9") == 401


async def revoke(service: Service) -> None:
    async with service.database.owner() as connection:
        await connection.execute("update store.api_key set revoked_at = now()")


async def remove(service: Service) -> None:
    async with service.database.owner() as connection:
        await connection.execute("delete from store.membership")


async def sign_out(service: Service) -> None:
    async with service.database.owner() as connection:
        await connection.execute("delete from store.browser_session")


@pytest.mark.parametrize(("by", "loss"), [("key", revoke), ("token", remove), ("cookie", remove), ("cookie", sign_out)])
async def test_a_ticket_is_worth_nothing_once_its_caller_has_lost_their_place(
    service: Service, by: str, loss: Callable[[Service], Any]
) -> None:
    if by == "cookie":
        client, headers = await service.signed_in(), SAME_ORIGIN
    else:
        client, headers = service.browser(), {"X-API-Key": service.key.text} if by == "key" else await service.token()
    url = await ticket(client, headers)
    await loss(service)
    service.clock.seconds += 1
    assert await status(service.browser(), url) == 401


async def test_a_stream_ends_with_its_token(service: Service) -> None:
    client, headers = service.browser(), await service.token()
    assert await status(client, "/anything", headers=headers) == 200
    (principal,) = service.seen
    assert principal is not None
    assert await service.authenticator.holds(principal)
    service.clock.now += timedelta(minutes=30)
    assert not await service.authenticator.holds(principal)


def test_a_short_secret_is_refused(database_url: str) -> None:
    with pytest.raises(ValueError, match="at least 32"):
        Authenticator(Database(database_url), b"short")
