"""A small server with the routes of identity, two organizations, two people and a key, for the tests of signing in."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import argon2
from aiohttp import web
from aiohttp.typedefs import Handler

from api.auth.authenticate import Authenticator
from api.auth.keys import NewKey, mint
from api.auth.principal import PRINCIPAL, Principal, caller
from api.auth.routes import routes
from api.errors import Problem
from storage import identity
from storage.database import Database

SECRET = b"0123456789abcdef0123456789abcdef"
PASSWORD = "correct horse battery staple"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Clock:
    """The two clocks of the service, which stand still until a test moves them."""

    now: datetime
    seconds: float = 0.0


@dataclass
class Service:
    """Ada owns Acme, root is the deployment's admin, nobody is in Other; the key reads Acme.

    `/api/v1/stream` and `/anything` note who they were asked by in `seen`.
    """

    database: Database
    authenticator: Authenticator
    clock: Clock
    socket: str
    acme: UUID
    other: UUID
    ada: UUID
    key: NewKey
    browsers: list[aiohttp.ClientSession] = field(default_factory=list)
    seen: list[Principal] = field(default_factory=list)

    def browser(self) -> aiohttp.ClientSession:
        """A client with cookies of its own."""
        made = aiohttp.ClientSession("http://localhost", connector=aiohttp.UnixConnector(self.socket))
        self.browsers.append(made)
        return made

    async def token(self, email: str = "ada@example.com") -> dict[str, str]:
        """The headers of somebody who signed in with their password."""
        async with self.browser().post("/api/auth/login", json={"email": email, "password": PASSWORD}) as answer:
            assert answer.status == 200
            return {"Authorization": f"Bearer {(await answer.json())['access_token']}"}

    async def signed_in(self) -> aiohttp.ClientSession:
        """A browser with Ada's session."""
        browser = self.browser()
        login = {"username": "ada@example.com", "password": PASSWORD, "session": "true"}
        async with browser.post("/api/auth/login", data=login, headers=SAME_ORIGIN) as answer:
            assert answer.status == 200
        return browser


@cache
def password_hash() -> str:
    """Made once: it takes a while, as it should."""
    return argon2.PasswordHasher().hash(PASSWORD)


@asynccontextmanager
async def running(database_url: str) -> AsyncIterator[Service]:
    """The service on a unix socket, its database filled."""
    database = Database(database_url)
    await database.open()
    acme = await identity.create_organization(database, "Acme")
    other = await identity.create_organization(database, "Other")
    ada = await identity.create_account(database, "ada@example.com", password_hash(), name="Ada")
    root = await identity.create_account(database, "root@example.com", password_hash(), deployment_admin=True)
    await identity.create_membership(database, ada, acme, "owner")
    await identity.create_membership(database, root, acme, "member")
    key = mint()
    await identity.create_api_key(database, acme, "Key", prefix=key.prefix, key_digest=key.digest, scopes=["read"])

    clock = Clock(datetime.now(UTC))
    authenticator = Authenticator(database, SECRET, now=lambda: clock.now, clock=lambda: clock.seconds)
    with tempfile.TemporaryDirectory(prefix="sg-") as folder:
        socket = str(Path(folder) / "http")
        service = Service(database, authenticator, clock, socket, acme, other, ada, key)
        runner = web.AppRunner(_application(service))
        await runner.setup()
        await web.UnixSite(runner, socket).start()
        yield service
        for browser in service.browsers:
            await browser.close()
        await runner.cleanup()
    await database.close()


def _application(service: Service) -> web.Application:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            principal = await service.authenticator.authenticate(request)
            if principal is not None:
                request[PRINCIPAL] = principal
            return await handler(request)
        except Problem as problem:
            return problem.response()

    async def note(request: web.Request) -> web.Response:
        service.seen.append(caller(request))
        return web.Response(text="noted")

    app = web.Application(middlewares=[middleware])
    for route in routes(service.database, service.authenticator, clock=lambda: service.clock.seconds):
        app.router.add_route(route.method, route.path, route.handler)
    app.router.add_get("/api/v1/stream", note)
    app.router.add_route("*", "/anything", note)
    return app


async def status(client: aiohttp.ClientSession, path: str = "/api/auth/me", **options: Any) -> int:
    """The status of an answer; a 401 always says how to do better."""
    method = options.pop("method", "GET")
    async with client.request(method, path, allow_redirects=False, **options) as answer:
        if answer.status == 401:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        return answer.status


async def body(client: aiohttp.ClientSession, path: str = "/api/auth/me", **options: Any) -> Any:
    """The JSON of an answer that must be good."""
    async with client.request(options.pop("method", "GET"), path, **options) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()
