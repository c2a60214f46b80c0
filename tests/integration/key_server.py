"""An issuer of access tokens on this machine: keys of its own, tokens signed with them, and a server that publishes the keys."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.integration.api_service import free_port

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
How = Literal["well", "slow", "huge", "redirecting", "failing", "garbage"]


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Made once for each name: it takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    """A P-256 key for each name."""
    return ec.generate_private_key(ec.SECP256R1())


def algorithm_of(key: Key | bytes) -> str:
    """What a key signs with."""
    if isinstance(key, bytes):
        return "HS256"
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def published(kid: str, key: Key, **changed: Any) -> dict[str, Any]:
    """The key as a JWK; what is changed to None is left out."""
    algorithm = algorithm_of(key)
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    whole = {**jwk, "kid": kid, "use": "sig", "alg": algorithm, "key_ops": None, **changed}
    return {name: value for name, value in whole.items() if value is not None}


def segment(value: Any) -> str:
    """A part of a token."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


@dataclass
class Issuer:
    """Makes tokens. `standard` are the claims of a good one; what is changed to None is left out."""

    issuer: str
    audience: Any
    kid: str
    key: Key | bytes
    typ: str = "JWT"

    def claims(self, **changed: Any) -> dict[str, Any]:
        """The claims of a good token."""
        now = datetime.now(UTC)
        whole = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": "somebody",
            "iat": now,
            "exp": now + timedelta(minutes=5),
        } | changed
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, *, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """A good token, or one with a changed header or claims."""
        headers = {"typ": self.typ, "kid": self.kid, **(header or {})}
        return jwt.encode(
            self.claims(**changed),
            self.key,
            algorithm=headers.get("alg", algorithm_of(self.key)),
            headers={name: value for name, value in headers.items() if value is not None or name == "typ"},
        )

    def exactly(self, header: dict[str, Any], **changed: Any) -> str:
        """A token that is well signed, with this header and these changes to its claims, however odd they are."""
        now = int(datetime.now(UTC).timestamp())
        name = algorithm_of(self.key)
        algorithm = jwt.get_algorithm_by_name(name)
        given = self.claims(**{"iat": now, "exp": now + 300, **changed})
        claims = {key: int(value.timestamp()) if isinstance(value, datetime) else value for key, value in given.items()}
        head = f"{segment({'alg': name, **header})}.{segment(claims)}"
        return f"{head}.{segment(algorithm.sign(head.encode(), algorithm.prepare_key(self.key)))}"

    def bearer(self, **changed: Any) -> dict[str, str]:
        """The headers of a request with a good token."""
        return {"Authorization": f"Bearer {self.token(**changed)}"}


@dataclass
class KeyServer:
    """Publishes keys at `url`, as well as it is told, and counts who asks. Other paths count as `strayed`."""

    port: int = field(default_factory=free_port)
    keys: list[dict[str, Any]] = field(default_factory=list)
    how: How = "well"
    asked: int = 0
    strayed: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where the keys are."""
        return f"http://127.0.0.1:{self.port}/.well-known/jwks.json"

    async def start(self) -> None:
        """Begins to listen."""
        app = web.Application()
        app.router.add_get("/.well-known/jwks.json", self._answer)
        app.router.add_route("*", "/{path:.*}", self._stray)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Nobody listens any more."""
        self.open.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, _: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.how == "slow":
            await self.open.wait()
        if self.how == "redirecting":
            raise web.HTTPFound(f"http://127.0.0.1:{self.port}/elsewhere")
        if self.how == "failing":
            raise web.HTTPInternalServerError
        if self.how == "garbage":
            return web.Response(text="[" * 100_000, content_type="application/json")
        padding = "x" * 1_000_000 if self.how == "huge" else ""
        return web.json_response({"keys": self.keys, "padding": padding})

    async def _stray(self, request: web.Request) -> web.StreamResponse:
        self.strayed.append(request.path)
        return web.json_response({"keys": self.keys})


@asynccontextmanager
async def key_server(*keys: dict[str, Any]) -> AsyncIterator[KeyServer]:
    """One that publishes these keys while the block runs."""
    server = KeyServer(keys=list(keys))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
