"""Invitations: `/api/v1/organizations/{id}/invitations` and `/api/v1/invitations/accept`."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Literal
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.acting import person_acting
from api.auth.principal import caller
from api.auth.registration import invitation_gone
from api.auth.sign_in import NO_STORE
from api.auth.whoami import OrganizationAnswer
from api.entered import checked_address, read_json
from api.errors import Problem
from api.organizations.refusals import organization_in_path, path_id, refusals_told
from api.paging import PageQuery, total_of
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage import invitations, organizations
from storage.invitations import Invitation, InvitationInvalid
from storage.members import NotOwner


class NewInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to invite, as what."""

    email: str
    role: Literal["owner", "member"] = "member"


class InvitationShown(msgspec.Struct):
    """An open invitation."""

    id: UUID
    email: str
    role: str
    invited_by: UUID | None
    created_at: dt.datetime
    expires_at: dt.datetime


class InvitationMade(InvitationShown):
    """A new invitation with its token, which is shown this once: it is to be sent to the person, who registers or accepts with it."""

    token: str


class Invitations(msgspec.Struct):
    """A page of an organization's open invitations, the oldest first."""

    invitations: list[InvitationShown]
    total: int
    page: int
    limit: int


class Acceptance(msgspec.Struct):
    """An invitation's token."""

    token: str


async def invite_somebody(request: web.Request) -> web.StreamResponse:
    """Invites an e-mail address for 7 days; the token is in the answer, nothing is sent. A new one replaces the one before."""
    organization, _, by = organization_in_path(request), *person_acting(request)
    given = await read_json(request, NewInvitation)
    email, token = checked_address(given.email), secrets.token_urlsafe(32)
    with refusals_told():
        made = await invitations.invite(services(request).database, organization, email, given.role, token, by)
    shown = _shown(made)
    answer = InvitationMade(**msgspec.structs.asdict(shown), token=token)
    return json_answer(answer, status=201, headers=NO_STORE)


async def show_invitations(request: web.Request) -> web.StreamResponse:
    """The invitations that are open."""
    organization, page = organization_in_path(request), parse_query(request, PageQuery)
    account, by = person_acting(request)
    database = services(request).database
    with refusals_told():
        _, role = await organizations.enter_organization(database, organization, account)
        if role == "member":
            raise NotOwner
    rows = await invitations.list_invitations(database, organization, now=by.now, limit=page.limit, offset=page.offset)
    answer = Invitations([_shown(row) for row in rows], total_of(rows), page.page, page.limit)
    return json_answer(answer, headers=NO_STORE)


async def withdraw_by_id(request: web.Request) -> web.StreamResponse:
    """Withdraws an invitation that was not used yet."""
    organization, _, by = organization_in_path(request), *person_acting(request)
    invitation = path_id(request, "invitation") or UUID(int=0)
    with refusals_told():
        try:
            await invitations.withdraw(services(request).database, organization, invitation, by)
        except InvitationInvalid:
            raise Problem(404, "the organization has no such invitation") from None
    return web.Response(status=204)


async def accept_signed_in(request: web.Request) -> web.StreamResponse:
    """Lets the caller into the organization that invited their e-mail address."""
    account, by = person_acting(request)
    given = await read_json(request, Acceptance)
    email = caller(request).email
    if email is None:
        raise invitation_gone()
    with refusals_told():
        found = await invitations.accept_invitation(services(request).database, given.token, account, email, by)
    return json_answer(OrganizationAnswer(found.id, found.name, found.demo), headers=NO_STORE)


def _shown(row: Invitation) -> InvitationShown:
    return InvitationShown(row.id, row.email, row.role, row.invited_by, row.created_at, row.expires_at)


_PATH = "/api/v1/organizations/{organization}/invitations"

ROUTES = [
    Route(
        "POST",
        _PATH,
        invite_somebody,
        "Invites somebody",
        scope="any",
        body=NewInvitation,
        answer=InvitationMade,
        status=201,
        tags=("organizations",),
        errors=(400, 404, 409, 413, 415, 422),
        identifiers=True,
    ),
    Route(
        "GET",
        _PATH,
        show_invitations,
        "An organization's open invitations",
        scope="any",
        query=PageQuery,
        answer=Invitations,
        tags=("organizations",),
        errors=(404,),
        identifiers=True,
    ),
    Route(
        "DELETE",
        _PATH + "/{invitation}",
        withdraw_by_id,
        "Withdraws an invitation",
        scope="any",
        status=204,
        tags=("organizations",),
        errors=(404,),
        identifiers=True,
    ),
    Route(
        "POST",
        "/api/v1/invitations/accept",
        accept_signed_in,
        "Accepts an invitation",
        scope="any",
        body=Acceptance,
        answer=OrganizationAnswer,
        tags=("organizations",),
        errors=(400, 409, 410, 413, 415, 422),
    ),
]
