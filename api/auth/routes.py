"""Signing in and out, who one is, in which organization, and tickets for streams."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth import cookies
from api.auth.attempts import Attempts
from api.auth.authenticate import Authenticator
from api.auth.login_form import Login, read_login
from api.auth.passwords import Passwords
from api.auth.principal import caller, not_signed_in
from api.auth.tokens import ACCESS_TOKEN_LIFETIME
from api.errors import Problem
from api.routing import Route, json_answer
from storage import identity, sessions
from storage.database import Database
from storage.identity import digest

_NO_STORE = {"Cache-Control": "no-store"}
_LINK_IS_GONE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign-in link · Streamgauge</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><h1>This sign-in link no longer works</h1>
<p>It was used already, or its time has run out. A link signs in once.</p>
<p><a href="/">Go to Streamgauge</a></p></body></html>
"""


class Token(msgspec.Struct):
    """An OAuth2 token answer; `expires_in` in seconds."""

    access_token: str
    expires_in: int
    token_type: str = "bearer"  # noqa: S105  (the name of a scheme)


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


class SignInQuery(msgspec.Struct):
    """The token of a one-time sign-in link."""

    token: str = ""


class AuthRoutes:
    """The handlers. `new_token` gives text that nobody can guess."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        passwords: Passwords,
        attempts: Attempts,
        new_token: Callable[[], str],
    ) -> None:
        self._database = database
        self._authenticator = authenticator
        self._passwords = passwords
        self._attempts = attempts
        self._new_token = new_token

    async def login(self, request: web.Request) -> web.Response:
        """An access token for an e-mail address and its password."""
        login = await read_login(request)
        if login.session:
            # Another site must not sign its visitors in to an account of its own choice.
            cookies.require_same_origin(request)
        who = (request.remote or "", login.who.lower())
        wait = self._attempts.begin(who)
        if wait > 0:
            raise Problem(
                429, "too many failed attempts to sign in", headers={"Retry-After": str(math.ceil(wait)), **_NO_STORE}
            )
        # PostgreSQL has no NUL in texts: nobody has such an address, and it takes as long to say so.
        account = None if "\x00" in login.who else await identity.find_account(self._database, login.who)
        if not await self._passwords.verify(login.password, account.password_hash if account else None) or not account:
            raise not_signed_in("the e-mail address or the password is wrong")
        self._attempts.succeed(who)
        now = self._authenticator.now()
        token = self._authenticator.tokens.issue(account.id, now=now)
        answer = Token(token, int(ACCESS_TOKEN_LIFETIME.total_seconds()))
        response = json_answer(answer, headers=_NO_STORE)
        if login.session:
            access = await identity.find_access(self._database, account.id, None)
            if access is None:
                raise Problem(403, "this account is in no organization")
            await self._open_session(request, response, account.id, access.organization)
        return response

    async def sign_in_by_link(self, request: web.Request) -> web.Response:
        """Turns a one-time link into a session."""
        token = request.query.get("token", "")
        link = None
        if token and token.isascii() and len(token) <= cookies.LONGEST_TOKEN:
            link = await sessions.consume_sign_in_link(self._database, token, now=self._authenticator.now())
        headers = {"Referrer-Policy": "no-referrer", **_NO_STORE}
        if link is None:
            return web.Response(status=410, text=_LINK_IS_GONE, content_type="text/html", headers=headers)
        response = web.Response(status=303, headers={"Location": "/", **headers})
        await self._open_session(request, response, link.account, link.organization)
        return response

    async def logout(self, request: web.Request) -> web.Response:
        """Ends the browser's session, if there is one."""
        response = web.Response(status=204)
        token = cookies.session_token(request)
        if token is not None:
            cookies.require_same_origin(request)
            await sessions.delete_browser_session(self._database, digest(token))
        cookies.clear_session(request, response)
        return response

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
        response = json_answer(answer, headers=_NO_STORE)
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
        organization = await sessions.switch_browser_session(
            self._database, principal.session, wanted, now=self._authenticator.now()
        )
        if organization is None:
            raise Problem(403, "organization_id: this is not an organization of yours", parameter="organization_id")
        answer = OrganizationAnswer(organization.id, organization.name, organization.demo)
        return json_answer(answer, headers=_NO_STORE)

    async def stream_ticket(self, request: web.Request) -> web.Response:
        """A ticket that stands for the caller at one connection to a stream."""
        ticket = self._new_token()
        await sessions.create_stream_ticket(
            self._database, ticket, caller(request).to_json(), now=self._authenticator.now()
        )
        return json_answer(Ticket(ticket, int(sessions.TICKET_LIFETIME.total_seconds())), headers=_NO_STORE)

    async def _open_session(
        self, request: web.Request, response: web.Response, account: UUID, organization: UUID
    ) -> None:
        token, now = self._new_token(), self._authenticator.now()
        await sessions.create_browser_session(self._database, token, account, organization, now=now)
        cookies.set_session(request, response, token)


def new_token() -> str:
    """256 random bits, for sessions, links and tickets."""
    return secrets.token_urlsafe(32)


def routes(
    database: Database,
    authenticator: Authenticator,
    *,
    passwords: Passwords | None = None,
    token: Callable[[], str] = new_token,
    clock: Callable[[], float] = time.monotonic,
) -> list[Route]:
    """The routes of identity. Registering, refreshing and managing keys and members will stand beside them."""
    on = AuthRoutes(database, authenticator, passwords or Passwords(), Attempts(clock=clock), token)
    tags = ("identity",)
    return [
        Route(
            "POST",
            "/api/auth/login",
            on.login,
            "An access token for an e-mail address and its password (OAuth2 password form, or JSON)",
            scope=None,
            body=Login,
            answer=Token,
            tags=tags,
            errors=(400, 401, 403, 413, 415, 422, 429, 503),
        ),
        Route(
            "GET",
            "/signin",
            on.sign_in_by_link,
            "Signs the browser in by a one-time link",
            scope=None,
            query=SignInQuery,
            media="text/html",
            status=303,
            tags=tags,
            errors=(410,),
        ),
        Route(
            "POST",
            "/api/auth/logout",
            on.logout,
            "Ends the browser's session",
            scope=None,
            status=204,
            tags=tags,
            errors=(403,),
        ),
        Route("GET", "/api/auth/me", on.me, "Who asks, and their organizations", scope="any", answer=Me, tags=tags),
        Route(
            "POST",
            "/api/v1/session/organization",
            on.switch_organization,
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
            on.stream_ticket,
            "A ticket for one connection to a stream",
            scope="read",
            answer=Ticket,
            tags=tags,
        ),
    ]
