"""`/api/v1/organizations`: making them, listing one's own, their names, zones and subscriptions."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.acting import person_acting
from api.auth.principal import caller
from api.auth.sign_in import NO_STORE
from api.entered import checked_name, checked_zone, read_json
from api.errors import Problem
from api.organizations.refusals import no_organization, organization_in_path, refusals_told
from api.paging import PageQuery, total_of
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage import organizations
from storage.organizations import OrganizationRecord


class NewOrganization(msgspec.Struct, forbid_unknown_fields=True):
    """An organization to be made, which its maker will own."""

    name: str
    time_zone: str = "UTC"


class OrganizationChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be changed. The tier, and with it the limits, is the deployment admin's to change."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    time_zone: str | msgspec.UnsetType = msgspec.UNSET
    subscription_tier: str | msgspec.UnsetType = msgspec.UNSET


class OrganizationShown(msgspec.Struct):
    """An organization, and what the caller is in it (`owner`, `member`, `admin` or `key`). A limit that is null is none."""

    id: UUID
    name: str
    time_zone: str
    demo: bool
    subscription_tier: str
    max_users: int | None
    max_models: int | None
    max_comparisons_per_month: int | None
    created_at: dt.datetime
    updated_at: dt.datetime
    role: str


class Organizations(msgspec.Struct):
    """A page of the organizations that the caller may enter."""

    organizations: list[OrganizationShown]
    total: int
    page: int
    limit: int


async def make_organization(request: web.Request) -> web.StreamResponse:
    """Makes an organization, which the caller owns."""
    account, by = person_acting(request)
    given = await read_json(request, NewOrganization)
    name, zone = checked_name(given.name), checked_zone(given.time_zone)
    with refusals_told():
        made = await organizations.found_organization(services(request).database, name, zone, account, by)
    return json_answer(_shown(made, "owner"), status=201, headers=NO_STORE)


async def show_organizations(request: web.Request) -> web.StreamResponse:
    """The caller's organizations, the oldest first; all of them for the deployment's admin, its own one for an API key."""
    page = parse_query(request, PageQuery)
    principal, database = caller(request), services(request).database
    if principal.account is None:
        with refusals_told():
            own = await organizations.read_organization(database, principal.organization)
        shown, total = ([_shown(own, "key")] if page.page == 1 else []), 1
    else:
        rows = await organizations.list_organizations(database, principal.account, limit=page.limit, offset=page.offset)
        shown, total = [_shown(row, row.role) for row in rows], total_of(rows)
    return json_answer(Organizations(shown, total, page.page, page.limit), headers=NO_STORE)


async def show_organization(request: web.Request) -> web.StreamResponse:
    """One organization of the caller's."""
    organization, principal, database = organization_in_path(request), caller(request), services(request).database
    with refusals_told():
        if principal.account is not None:
            found, role = await organizations.enter_organization(database, organization, principal.account)
            return json_answer(_shown(found, role), headers=NO_STORE)
        if organization != principal.organization:
            raise no_organization()
        own = await organizations.read_organization(database, organization)
        return json_answer(_shown(own, "key"), headers=NO_STORE)


async def change_by_id(request: web.Request) -> web.StreamResponse:
    """Changes an organization's name or time zone (its owners), or its subscription tier (the deployment's admin)."""
    organization = organization_in_path(request)
    account, by = person_acting(request)
    given, parts = await read_json(request, OrganizationChange), services(request)
    database = parts.database
    name = None if given.name is msgspec.UNSET else checked_name(given.name)
    zone = None if given.time_zone is msgspec.UNSET else checked_zone(given.time_zone)
    with refusals_told():
        found, role = await organizations.enter_organization(database, organization, account)
        if given.subscription_tier is not msgspec.UNSET:
            if role != "admin":
                raise Problem(
                    403,
                    "subscription_tier: only the deployment's admin may change it",
                    parameter="subscription_tier",
                )
            found = await organizations.change_tier(database, organization, given.subscription_tier, by)
        if name is not None or zone is not None:
            found, role = await organizations.change_organization(
                database, organization, account, by, name=name, time_zone=zone
            )
    if zone is not None and parts.cache is not None:
        # Its days are others now, and no commit says so.
        await parts.cache.drop(organization)
    return json_answer(_shown(found, role), headers=NO_STORE)


def _shown(found: OrganizationRecord, role: str) -> OrganizationShown:
    return OrganizationShown(
        found.id,
        found.name,
        found.time_zone,
        found.demo,
        found.subscription_tier,
        found.max_users,
        found.max_models,
        found.max_comparisons_per_month,
        found.created_at,
        found.updated_at,
        role,
    )


ROUTES = [
    Route(
        "POST",
        "/api/v1/organizations",
        make_organization,
        "Makes an organization",
        scope="any",
        body=NewOrganization,
        answer=OrganizationShown,
        status=201,
        tags=("organizations",),
        errors=(400, 409, 413, 415, 422),
    ),
    Route(
        "GET",
        "/api/v1/organizations",
        show_organizations,
        "The caller's organizations",
        scope="any",
        query=PageQuery,
        answer=Organizations,
        tags=("organizations",),
    ),
    Route(
        "GET",
        "/api/v1/organizations/{organization}",
        show_organization,
        "An organization of the caller's",
        scope="any",
        answer=OrganizationShown,
        tags=("organizations",),
        errors=(404,),
        identifiers=True,
    ),
    Route(
        "PATCH",
        "/api/v1/organizations/{organization}",
        change_by_id,
        "Changes an organization's name, time zone or subscription tier",
        scope="any",
        body=OrganizationChange,
        answer=OrganizationShown,
        tags=("organizations",),
        errors=(400, 404, 413, 415, 422),
        identifiers=True,
    ),
]
