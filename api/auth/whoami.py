"""Who one is, in which organization, and tickets for streams."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth import cookies
from api.auth.authenticate import Authenticator
from api.auth.principal import caller, not_signed_in
from api.auth.sign_in import NO_STORE
from api.client_address import client_address
from api.errors import Problem
from api.routing import Route, json_answer
from storage import identity, sessions
from storage.audit import Actor
from storage.database import Database


class OrganizationAnswer(msgspec.Struct):
    """An organization; `demo` where its data is simulated."""

    id: UUID
    name: str
    demo: bool


class Membership(OrganizationAnswer):
    """An organization that the caller may switch to, and what they are there."""

    role: str


class Me(msgspec.Struct):
    """Who asks. An API key has neither account nor e-mail address, and its own organization only."""

    account: UUID | None
    email: str | None
    name: str | None
    role: str
    scopes: list[str]
    organization: OrganizationAnswer
    organizations: list[Membership]


class Switch(msgspec.Struct):
    """The organization that the browser's session goes to."""

    organization_id: UUID


class Ticket(msgspec.Struct):
    """Good for one connection to a stream, within `expires_in` seconds."""

    ticket: str
    expires_in: int


class WhoAmI:
    """The handlers. `new_token` gives text that nobody can guess."""

    def __init__(self, database: Database, authenticator: Authenticator, new_token: Callable[[], str]) -> None:
        self._database = database
        self._authenticator = authenticator
        self._new_token = new_token

    async def me(self, request: web.Request) -> web.Response:
        """Who asks, and where they may go."""
        principal = caller(request)
        organization = await identity.find_organization(self._database, principal.organization)
        if organization is None:
            raise not_signed_in("the organization is gone")
        here = OrganizationAnswer(organization.id, organization.name, organization.demo)
        if principal.account is None:
            open_to = [Membership(here.id, here.name, here.demo, principal.role)]
        else:
            found = await identity.list_access(self._database, principal.account)
            open_to = [Membership(a.organization, a.organization_name, a.demo, a.role) for a in found]
        answer = Me(
            account=principal.account,
            email=principal.email,
            name=principal.name,
            role=principal.role,
            scopes=sorted(principal.scopes),
            organization=here,
            organizations=open_to,
        )
        response = json_answer(answer, headers=NO_STORE)
        token = cookies.session_token(request)
        if principal.session is not None and token is not None:
            # The page asks this when it opens: the browser's copy of the session then lasts as long as ours.
            cookies.set_session(request, response, token)
        return response

    async def switch_organization(self, request: web.Request) -> web.Response:
        """Moves the browser's session to another organization."""
        principal = caller(request)
        if principal.session is None:
            raise Problem(409, "only the page's session switches; send X-Organization-ID with an access token")
        try:
            wanted = msgspec.json.decode(await request.read(), type=Switch).organization_id
        except msgspec.DecodeError:
            raise Problem(
                422, "organization_id: expected an organization's id, a UUID", parameter="organization_id"
            ) from None
        now = self._authenticator.now()
        by = Actor(principal.account, principal.email, client_address(request), now)
        organization = await sessions.switch_browser_session(self._database, principal.session, wanted, now=now, by=by)
        if organization is None:
            raise Problem(403, "organization_id: this is not an organization of yours", parameter="organization_id")
        answer = OrganizationAnswer(organization.id, organization.name, organization.demo)
        return json_answer(answer, headers=NO_STORE)

    async def stream_ticket(self, request: web.Request) -> web.Response:
        """A ticket that stands for the caller at one connection to a stream."""
        ticket = self._new_token()
        await sessions.create_stream_ticket(
            self._database, ticket, caller(request).to_json(), now=self._authenticator.now()
        )
        return json_answer(Ticket(ticket, int(sessions.TICKET_LIFETIME.total_seconds())), headers=NO_STORE)

    def routes(self) -> list[Route]:
        """Its routes."""
        tags = ("identity",)
        return [
            Route(
                "GET", "/api/auth/me", self.me, "Who asks, and their organizations", scope="any", answer=Me, tags=tags
            ),
            Route(
                "POST",
                "/api/v1/session/organization",
                self.switch_organization,
                "Moves the browser's session to another organization",
                scope="any",
                body=Switch,
                answer=OrganizationAnswer,
                tags=tags,
                errors=(403, 409, 422),
            ),
            Route(
                "POST",
                "/api/v1/stream/tickets",
                self.stream_ticket,
                "A ticket for one connection to a stream",
                scope="read",
                answer=Ticket,
                tags=tags,
            ),
        ]
