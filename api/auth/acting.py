"""Who acts, for the audit trail and for what only people may do."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from api.auth.principal import caller
from api.client_address import client_address
from api.errors import Problem
from api.services import services
from storage.audit import Actor


def person_acting(request: web.Request) -> tuple[UUID, Actor]:
    """The account of a person who is signed in, and the actor; raises Problem 403 for an API key, 401 for nobody."""
    principal = caller(request)
    if principal.account is None:
        raise Problem(403, "an API key cannot do this: sign in")
    now = services(request).authenticator.now()
    return principal.account, Actor(principal.account, principal.email, client_address(request), now)


def acting(request: web.Request) -> Actor:
    """Whoever asks, a person or an API key; raises Problem 401 for nobody."""
    principal = caller(request)
    name = principal.email if principal.account is not None else f"API key {principal.key}"
    return Actor(principal.account, name, client_address(request), services(request).now())
