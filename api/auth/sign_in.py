"""Signing in, staying signed in and signing out."""

from __future__ import annotations

import math
from collections.abc import Callable
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth import cookies
from api.auth.authenticate import Authenticator
from api.auth.login_form import Login, read_login
from api.auth.passwords import Passwords
from api.auth.principal import not_signed_in
from api.client_address import client_address
from api.entered import is_address, read_json
from api.errors import Problem
from api.limits.sign_ins import SignIns
from api.routing import Route, json_answer
from storage import identity, refresh_tokens, sessions
from storage.audit import Actor
from storage.database import Database
from storage.identity import digest
from storage.refresh_tokens import REFRESH_LIFETIME

NO_STORE = {"Cache-Control": "no-store"}
_LINK_IS_GONE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign-in link · Streamgauge</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><h1>This sign-in link no longer works</h1>
<p>It was used already, or its time has run out. A link signs in once.</p>
<p><a href="/">Go to Streamgauge</a></p></body></html>
"""


class Token(msgspec.Struct):
    """An OAuth2 token answer; times in seconds. A sign-in with `session` has no refresh token: the cookie does its work."""

    access_token: str
    expires_in: int
    token_type: str = "bearer"  # noqa: S105  (the name of a scheme)
    refresh_token: str | None = None
    refresh_expires_in: int | None = None


class Refresh(msgspec.Struct):
    """A refresh token, which is good once."""

    refresh_token: str


class SignOut(msgspec.Struct):
    """The refresh token whose family ends, if any."""

    refresh_token: str | None = None


class SignInQuery(msgspec.Struct):
    """The token of a one-time sign-in link."""

    token: str = ""


class SignIn:
    """The handlers. `new_token` gives text that nobody can guess."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        passwords: Passwords,
        sign_ins: SignIns,
        new_token: Callable[[], str],
    ) -> None:
        self._database = database
        self._authenticator = authenticator
        self._passwords = passwords
        self._sign_ins = sign_ins
        self._new_token = new_token

    async def login(self, request: web.Request) -> web.Response:
        """An access token for an e-mail address and its password."""
        login = await read_login(request)
        if login.session:
            # Another site must not sign its visitors in to an account of its own choice.
            cookies.require_same_origin(request)
        begun = await self._sign_ins.begin(client_address(request), login.who)
        if begun.wait > 0:
            raise Problem(
                429,
                "too many failed attempts to sign in",
                headers={"Retry-After": str(math.ceil(begun.wait)), **NO_STORE},
            )
        # PostgreSQL has no NUL in texts: nobody has such an address, and it takes as long to say so.
        account = None if "\x00" in login.who else await identity.find_account(self._database, login.who)
        knows = await self._passwords.verify(login.password, account.password_hash if account else None)
        if not knows or account is None or account.disabled_at is not None:
            reason = "disabled" if knows else "password" if account else "address"
            # What has not the shape of an address may be a password in the wrong field.
            shown = login.who.lower() if is_address(login.who) else None
            self._authenticator.arrivals.failed(account.id if account else None, shown, client_address(request), reason)
            raise not_signed_in("the e-mail address or the password is wrong")
        await self._sign_ins.succeed(begun)
        by = Actor(account.id, account.email, client_address(request), self._authenticator.now())
        if not login.session:
            return self._answer(account.id, await refresh_tokens.sign_in(self._database, by, account.id))
        access = await identity.find_access(self._database, account.id, None)
        if access is None:
            raise Problem(403, "this account is in no organization")
        response = self._answer(account.id, None)
        await self._open_session(request, response, by, access.account, access.organization, "password")
        return response

    async def refresh(self, request: web.Request) -> web.Response:
        """The next access token and the next refresh token, for one that was not used yet.

        A refresh token that comes again ends its whole family: somebody else has it.
        """
        given = await read_json(request, Refresh)
        by = Actor(None, None, client_address(request), self._authenticator.now())
        rotated = await refresh_tokens.rotate(self._database, given.refresh_token, by)
        if rotated is None:
            raise not_signed_in("the refresh token is unknown, used, revoked or expired; sign in again")
        who, token = rotated
        return self._answer(who.id, token)

    async def sign_in_by_link(self, request: web.Request) -> web.Response:
        """Turns a one-time link into a session."""
        token = request.query.get("token", "")
        link = None
        if token and token.isascii() and len(token) <= cookies.LONGEST_TOKEN:
            link = await sessions.consume_sign_in_link(self._database, token, now=self._authenticator.now())
        headers = {"Referrer-Policy": "no-referrer", **NO_STORE}
        if link is None:
            return web.Response(status=410, text=_LINK_IS_GONE, content_type="text/html", headers=headers)
        response = web.Response(status=303, headers={"Location": "/", **headers})
        by = Actor(link.account, link.email, client_address(request), self._authenticator.now())
        await self._open_session(request, response, by, link.account, link.organization, "link")
        return response

    async def logout(self, request: web.Request) -> web.Response:
        """Ends the browser's session, if there is one, and the family of a refresh token that is sent along."""
        given = await read_json(request, SignOut, empty=SignOut())
        response = web.Response(status=204)
        token = cookies.session_token(request)
        if token is not None:
            cookies.require_same_origin(request)
            await sessions.delete_browser_session(self._database, digest(token))
        if given.refresh_token is not None:
            await refresh_tokens.end_family(self._database, given.refresh_token, now=self._authenticator.now())
        cookies.clear_session(request, response)
        return response

    async def _open_session(
        self, request: web.Request, response: web.Response, by: Actor, account: UUID, organization: UUID, way: str
    ) -> None:
        token = self._new_token()
        await sessions.create_browser_session(self._database, token, account, organization, now=by.now, by=by, way=way)
        cookies.set_session(request, response, token)

    def _answer(self, account: UUID, refresh_token: str | None) -> web.Response:
        tokens = self._authenticator.tokens
        answer = Token(
            tokens.issue(account, now=self._authenticator.now()),
            int(tokens.lifetime.total_seconds()),
            refresh_token=refresh_token,
            refresh_expires_in=None if refresh_token is None else int(REFRESH_LIFETIME.total_seconds()),
        )
        return json_answer(answer, headers=NO_STORE)

    def routes(self) -> list[Route]:
        """Its routes."""
        tags = ("identity",)
        return [
            Route(
                "POST",
                "/api/auth/login",
                self.login,
                "Tokens for an e-mail address and its password (OAuth2 password form, or JSON)",
                scope=None,
                body=Login,
                answer=Token,
                tags=tags,
                errors=(400, 401, 403, 413, 415, 422, 429, 503),
            ),
            Route(
                "POST",
                "/api/auth/refresh",
                self.refresh,
                "The next tokens for a refresh token",
                scope=None,
                anonymous=True,
                body=Refresh,
                answer=Token,
                tags=tags,
                errors=(400, 401, 413, 415, 422),
            ),
            Route(
                "GET",
                "/signin",
                self.sign_in_by_link,
                "Signs the browser in by a one-time link",
                scope=None,
                query=SignInQuery,
                media="text/html",
                status=303,
                tags=tags,
                also={410: {"text/html": str}},
            ),
            Route(
                "POST",
                "/api/auth/logout",
                self.logout,
                "Ends the browser's session, and a refresh token's family",
                scope=None,
                anonymous=True,
                body=SignOut,
                status=204,
                tags=tags,
                errors=(400, 403, 413, 415, 422),
            ),
        ]
