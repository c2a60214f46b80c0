"""People who register at a running service, sign in and do things, for the tests of accounts and organizations."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from api.app import application
from api.auth.authenticate import Authenticator
from api.serve import serving
from tests.integration.api_service import SECRET, Api, Reply, free_port

PASSWORD = "test123"
_numbers = itertools.count(1)


def new_address(name: str = "ada") -> str:
    """An e-mail address that nobody has registered yet."""
    return f"{name}{next(_numbers)}@example.com"


@dataclass
class Person:
    """Somebody with an account: their tokens, and the organization that they started in."""

    api: Api
    email: str
    id: str
    organization: str
    access: str
    refresh: str

    async def ask(self, method: str, path: str, body: Any = None, *, within: str | None = None) -> Reply:
        """An answer to the person, in an organization of theirs."""
        headers = {"Authorization": f"Bearer {self.access}"} | ({"X-Organization-ID": within} if within else {})
        return await say(self.api, method, path, body, headers=headers)

    async def me(self) -> Any:
        """What the service says of them."""
        return (await self.ask("GET", "/api/auth/me")).json


async def say(api: Api, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Reply:
    """An answer to somebody who sends only these headers."""
    async with api.session.request(method, api.url + path, json=body, headers=headers) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


async def registered(api: Api, email: str | None = None, **more: Any) -> Person:
    """Somebody who has just registered and signed in."""
    email = email or new_address()
    reply = await say(api, "POST", "/api/auth/register", {"email": email, "password": PASSWORD, **more})
    assert reply.status == 201, reply.text
    account = reply.json
    reply = await say(api, "POST", "/api/auth/login", {"email": email, "password": PASSWORD})
    assert reply.status == 200, reply.text
    tokens = reply.json
    return Person(
        api, email, account["id"], account["organization_id"], tokens["access_token"], tokens["refresh_token"]
    )


async def invited(owner: Person, email: str, role: str = "member", *, organization: str | None = None) -> str:
    """The token of an invitation to the owner's organization."""
    path = f"/api/v1/organizations/{organization or owner.organization}/invitations"
    reply = await owner.ask("POST", path, {"email": email, "role": role})
    assert reply.status == 201, reply.text
    token: str = reply.json["token"]
    return token


async def joined(owner: Person, role: str = "member") -> Person:
    """Somebody who registered by an invitation of the owner's."""
    email = new_address()
    return await registered(owner.api, email, invitation=await invited(owner, email, role))


@asynccontextmanager
async def served(api: Api, **changed: Any) -> AsyncIterator[Api]:
    """The same service a second time, as another process would be, with some of its parts changed."""
    services = replace(api.services, **changed)
    async with serving(application(services), "127.0.0.1", free_port()) as port:
        yield replace(api, url=f"http://127.0.0.1:{port}", services=services)


def counting(api: Api, seconds: list[float]) -> Authenticator:
    """An authenticator for which time passes when a test says so: what it looked up is as old as `seconds[0]` tells."""
    return Authenticator(api.services.database, SECRET, now=lambda: api.clock.now, clock=lambda: seconds[0])
