"""`GET` and `PUT /api/v1/users/profile`: what an account tells of itself, as ModelCompare's document shows it."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.principal import caller, not_signed_in
from api.entered import read_json
from api.errors import Problem
from api.routing import Route, json_answer
from api.services import services
from api.shown_text import LONGEST_NAME, text_from
from storage.people import AccountDetails, find_details, rename_account

_PATH = "/api/v1/users/profile"
_NO_STORE = {"Cache-Control": "no-store"}


class OwnProfile(msgspec.Struct):
    """The caller's account. `email` is null where the issuer of its tokens tells none, `name` until one is given."""

    id: UUID
    email: str | None
    name: str | None
    created_at: dt.datetime
    updated_at: dt.datetime


class NameChange(msgspec.Struct, forbid_unknown_fields=True):
    """The name by which one is called: 1 to 255 characters."""

    name: str


async def get_own_profile(request: web.Request) -> web.Response:
    """Who one is. The first request with another issuer's token makes the account."""
    return _answer(await find_details(services(request).database, _account(request)))


async def put_own_profile(request: web.Request) -> web.Response:
    """Changes one's name. The e-mail address is the issuer's to change."""
    account = _account(request)
    given = (await read_json(request, NameChange)).name
    name = text_from(given, LONGEST_NAME)
    if name is None or name != given.strip():
        raise Problem(
            422, f"name: expected 1 to {LONGEST_NAME} characters, none of them a control character", parameter="name"
        )
    return _answer(await rename_account(services(request).database, account, name))


def _account(request: web.Request) -> UUID:
    account = caller(request).account
    if account is None:
        raise Problem(403, "an API key is no person; send an access token")
    return account


def _answer(details: AccountDetails | None) -> web.Response:
    if details is None:
        raise not_signed_in("the account is gone")
    profile = OwnProfile(details.id, details.email, details.name, details.created_at, details.updated_at)
    return json_answer(profile, headers=_NO_STORE)


ROUTES = [
    Route(
        "GET",
        _PATH,
        get_own_profile,
        "The caller's own account",
        scope="any",
        answer=OwnProfile,
        tags=("people",),
    ),
    Route(
        "PUT",
        _PATH,
        put_own_profile,
        "Changes the caller's name",
        scope="any",
        body=NameChange,
        answer=OwnProfile,
        tags=("people",),
        errors=(400, 413, 415, 422),
    ),
]
