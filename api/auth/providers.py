"""`/api/v1/auth/oauth/providers`: whose access tokens are taken, for a sign-in form."""

from __future__ import annotations

import msgspec
from aiohttp import web

from api.routing import Route, json_answer
from api.services import services


class Provider(msgspec.Struct):
    """A way to sign in: `password` is our own, at `login`; the access tokens of the others are taken as they are."""

    name: str
    type: str
    login: str | None = None


class Providers(msgspec.Struct):
    """The ways to sign in that are set up."""

    providers: list[Provider]


async def providers(request: web.Request) -> web.StreamResponse:
    """The ways to sign in."""
    others = [Provider(name, "oidc") for name in services(request).sign_in_providers]
    return json_answer(Providers([Provider("password", "password", "/api/auth/login"), *others]))


ROUTES = [
    Route(
        "GET",
        "/api/v1/auth/oauth/providers",
        providers,
        "The ways to sign in",
        scope=None,
        anonymous=True,
        answer=Providers,
        tags=("identity",),
    ),
]
