"""`/api/v1/api-keys`: the keys of the organization that the caller acts for."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.acting import person_acting
from api.auth.keys import mint
from api.auth.principal import caller
from api.auth.sign_in import NO_STORE
from api.entered import checked_name, read_json
from api.organizations.refusals import path_id, refusals_told
from api.paging import PageQuery, total_of
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage import api_keys, organizations
from storage.api_keys import ListedKey, MintedKey
from storage.members import NotOwner

KeyScope = Literal["events:write", "read"]


class NewApiKey(msgspec.Struct, forbid_unknown_fields=True):
    """A key to be made, and what it may do."""

    name: str
    scopes: Annotated[list[KeyScope], msgspec.Meta(min_length=1, max_length=2)]


class KeyShown(msgspec.Struct):
    """A key without its secret. `last_used_at` is written once a minute."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    created_at: dt.datetime
    last_used_at: dt.datetime | None
    revoked_at: dt.datetime | None


class KeyMade(KeyShown):
    """A new key with its text, which is shown this once."""

    key: str


class ApiKeys(msgspec.Struct):
    """A page of an organization's keys, the newest first, the revoked ones among them."""

    api_keys: list[KeyShown]
    total: int
    page: int
    limit: int


async def make_key(request: web.Request) -> web.StreamResponse:
    """Makes a key; its text is in this answer and nowhere else."""
    _, by = person_acting(request)
    given = await read_json(request, NewApiKey)
    name, made = checked_name(given.name), None
    while made is None:
        key = mint()
        minted = MintedKey(name, key.prefix, key.digest, given.scopes)
        with refusals_told():
            made = await api_keys.add_key(services(request).database, caller(request).organization, minted, by)
    shown = _shown(made)
    answer = KeyMade(**msgspec.structs.asdict(shown), key=key.text)
    return json_answer(answer, status=201, headers=NO_STORE)


async def show_keys(request: web.Request) -> web.StreamResponse:
    """The keys."""
    page = parse_query(request, PageQuery)
    organization, database = await require_owner(request), services(request).database
    rows = await api_keys.list_keys(database, organization, limit=page.limit, offset=page.offset)
    answer = ApiKeys([_shown(row) for row in rows], total_of(rows), page.page, page.limit)
    return json_answer(answer, headers=NO_STORE)


async def revoke_by_id(request: web.Request) -> web.StreamResponse:
    """Revokes a key: within a second it opens nothing any more. A revoked key stays in the list."""
    _, by = person_acting(request)
    key, organization = path_id(request, "key") or UUID(int=0), caller(request).organization
    with refusals_told():
        revoked = await api_keys.revoke_key(services(request).database, organization, key, by)
    return json_answer(_shown(revoked), headers=NO_STORE)


async def require_owner(request: web.Request) -> UUID:
    """The organization that the caller acts for and owns, or administers; raises Problem 403."""
    account, _ = person_acting(request)
    organization = caller(request).organization
    with refusals_told():
        _, role = await organizations.enter_organization(services(request).database, organization, account)
        if role == "member":
            raise NotOwner
    return organization


def _shown(row: ListedKey) -> KeyShown:
    return KeyShown(row.id, row.name, row.prefix, row.scopes, row.created_at, row.last_used_at, row.revoked_at)


ROUTES = [
    Route(
        "POST",
        "/api/v1/api-keys",
        make_key,
        "Makes an API key",
        scope="any",
        body=NewApiKey,
        answer=KeyMade,
        status=201,
        tags=("identity",),
        errors=(400, 409, 413, 415, 422),
    ),
    Route(
        "GET",
        "/api/v1/api-keys",
        show_keys,
        "The organization's API keys",
        scope="any",
        query=PageQuery,
        answer=ApiKeys,
        tags=("identity",),
    ),
    Route(
        "DELETE",
        "/api/v1/api-keys/{key}",
        revoke_by_id,
        "Revokes an API key",
        scope="any",
        answer=KeyShown,
        tags=("identity",),
        errors=(404,),
        identifiers=True,
    ),
]
