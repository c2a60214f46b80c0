"""`/api/v1/organizations/{id}/members`: who is in an organization, and as what."""

from __future__ import annotations

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.acting import person_acting
from api.auth.sign_in import NO_STORE
from api.entered import read_json
from api.organizations.refusals import organization_in_path, path_id, refusals_told
from api.paging import PageQuery, total_of
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage import members, organizations


class MemberShown(msgspec.Struct):
    """A member. Members see their own e-mail address only; owners and the deployment's admin see all of them."""

    account: UUID
    email: str | None
    name: str | None
    role: str
    joined_at: dt.datetime
    disabled: bool


class Members(msgspec.Struct):
    """A page of an organization's members, those of longest standing first."""

    members: list[MemberShown]
    total: int
    page: int
    limit: int


class RoleChange(msgspec.Struct, forbid_unknown_fields=True):
    """What a member is from now on."""

    role: Literal["owner", "member"]


async def show_members(request: web.Request) -> web.StreamResponse:
    """The members."""
    organization, page = organization_in_path(request), parse_query(request, PageQuery)
    account, _ = person_acting(request)
    database = services(request).database
    with refusals_told():
        _, role = await organizations.enter_organization(database, organization, account)
    rows = await members.list_members(database, organization, limit=page.limit, offset=page.offset)
    shown = [
        MemberShown(
            row.account,
            row.email if role != "member" or row.account == account else None,
            row.name,
            row.role,
            row.created_at,
            row.disabled,
        )
        for row in rows
    ]
    return json_answer(Members(shown, total_of(rows), page.page, page.limit), headers=NO_STORE)


async def give_role(request: web.Request) -> web.StreamResponse:
    """Makes a member an owner or an owner a member; the last owner stays one."""
    organization, _, by = organization_in_path(request), *person_acting(request)
    role = (await read_json(request, RoleChange)).role
    with refusals_told():
        await members.change_role(services(request).database, organization, _member(request), role, by)
    return web.Response(status=204)


async def take_out(request: web.Request) -> web.StreamResponse:
    """Takes a member out, within a second; members may take themselves out, the last owner may not."""
    organization, _, by = organization_in_path(request), *person_acting(request)
    with refusals_told():
        await members.remove_member(services(request).database, organization, _member(request), by)
    return web.Response(status=204)


def _member(request: web.Request) -> UUID:
    # An id that nobody has comes to the same refusals as one of somebody who is not in the organization.
    return path_id(request, "account") or UUID(int=0)


_PATH = "/api/v1/organizations/{organization}/members"

ROUTES = [
    Route(
        "GET",
        _PATH,
        show_members,
        "An organization's members",
        scope="any",
        query=PageQuery,
        answer=Members,
        tags=("organizations",),
        errors=(404,),
        identifiers=True,
    ),
    Route(
        "PATCH",
        _PATH + "/{account}",
        give_role,
        "Changes a member's role",
        scope="any",
        body=RoleChange,
        status=204,
        tags=("organizations",),
        errors=(400, 404, 409, 413, 415, 422),
        identifiers=True,
    ),
    Route(
        "DELETE",
        _PATH + "/{account}",
        take_out,
        "Takes a member out",
        scope="any",
        status=204,
        tags=("organizations",),
        errors=(404, 409),
        identifiers=True,
    ),
]
