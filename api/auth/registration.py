"""Registering: RiskScan's `/api/auth/register`, TradeFlow's `/auth/signup`, and the profile that it shows."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Literal
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.attempts import Attempts
from api.auth.authenticate import Authenticator
from api.auth.passwords import MOST_CHARACTERS, Passwords
from api.auth.principal import Principal, caller, not_signed_in
from api.auth.sign_in import NO_STORE
from api.client_address import client_address, neighbourhood
from api.entered import checked_address, checked_name, read_json
from api.errors import Problem
from api.routing import Route, json_answer
from storage.accounts import FIRST_PLAN, EmailTaken, NewAccount, Profile, find_profile, register_account
from storage.audit import Actor
from storage.database import Database
from storage.invitations import InvitationInvalid
from storage.members import OrganizationFull

LEAST_CHARACTERS = 7
MOST_IN_TEN_MINUTES = 30

Plan = Literal["free", "starter", "pro", "elite"]


class Registration(msgspec.Struct, kw_only=True):
    """A new account. With the token of an `invitation` it joins who invited it, otherwise it owns an organization of its own."""

    email: str
    password: str
    name: str | None = None
    invitation: str | None = None


class Registered(msgspec.Struct):
    """A new account and the organization that it is in."""

    id: UUID
    email: str | None
    name: str | None
    created_at: dt.datetime
    organization_id: UUID


class SignUp(msgspec.Struct, kw_only=True):
    """A new account of TradeFlow. `plan` is shown in the profile; it opens nothing before it is paid for."""

    email: str
    password: str
    name: str
    plan: Plan = "free"


class TradeUser(msgspec.Struct):
    """A user in TradeFlow's shape; `role` is admin for the deployment's admins. `email` may be null where another issuer vouches."""

    id: UUID
    email: str | None
    name: str | None
    plan: str
    role: Literal["user", "admin"]
    created_at: dt.datetime


class SignedUp(msgspec.Struct):
    """TradeFlow's answer to a sign-up."""

    success: bool
    user: TradeUser


class Registering:
    """The handlers. Where registration is not open, only who was invited may register."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        passwords: Passwords,
        clock: Callable[[], float],
        *,
        is_open: bool,
    ) -> None:
        self._database = database
        self._authenticator = authenticator
        self._passwords = passwords
        self._attempts = Attempts(limit=MOST_IN_TEN_MINUTES, seconds=600.0, clock=clock)
        self._open = is_open

    async def register(self, request: web.Request) -> web.Response:
        """A new account.

        An address that is taken is answered 409, because no letter could tell its owner instead; how many addresses somebody
        can try is bounded by where they come from.
        """
        given = await read_json(request, Registration)
        name = None if given.name is None else checked_name(given.name)
        made, organization = await self._register(request, given.email, given.password, name, given.invitation)
        answer = Registered(made.id, made.email, made.name, made.created_at, organization)
        return json_answer(answer, status=201, headers=NO_STORE)

    async def sign_up(self, request: web.Request) -> web.Response:
        """A new account, in TradeFlow's shape."""
        given = await read_json(request, SignUp)
        name = checked_name(given.name)
        made, _ = await self._register(request, given.email, given.password, name, None, given.plan)
        return json_answer(SignedUp(True, _trade_user(made)), status=201, headers=NO_STORE)

    async def profile(self, request: web.Request) -> web.Response:
        """The caller, in TradeFlow's shape."""
        principal: Principal = caller(request)
        if principal.account is None:
            raise Problem(403, "an API key has no profile: sign in")
        found = await find_profile(self._database, principal.account)
        if found is None:
            raise not_signed_in("the account is gone")
        return json_answer(_trade_user(found), headers=NO_STORE)

    async def _register(
        self,
        request: web.Request,
        email: str,
        password: str,
        name: str | None,
        invitation: str | None,
        plan: Plan | None = None,
    ) -> tuple[Profile, UUID]:
        if not self._open and invitation is None:
            raise Problem(403, "registration is closed; ask an organization's owner for an invitation")
        address = checked_address(email)
        checked_password(password)
        wait = self._attempts.begin((neighbourhood(client_address(request)), ""))
        if wait > 0:
            raise Problem(
                429, "too many accounts were registered from here", headers={"Retry-After": str(math.ceil(wait))}
            )
        new = NewAccount(address, await self._passwords.hash(password), name, plan or FIRST_PLAN)
        by = Actor(None, address, client_address(request), self._authenticator.now())
        try:
            return await register_account(self._database, new, invitation, by)
        except EmailTaken:
            raise Problem(409, "email: an account has this address already", parameter="email") from None
        except InvitationInvalid:
            raise invitation_gone() from None
        except OrganizationFull as error:
            raise Problem(409, str(error)) from None

    def routes(self) -> list[Route]:
        """Its routes."""
        errors = (400, 403, 409, 413, 415, 422, 429, 503)
        return [
            Route(
                "POST",
                "/api/auth/register",
                self.register,
                "Registers an account",
                scope=None,
                anonymous=True,
                body=Registration,
                answer=Registered,
                status=201,
                tags=("identity",),
                errors=(*errors, 410),
            ),
            Route(
                "POST",
                "/api/unify/v1/auth/signup",
                self.sign_up,
                "Registers an account, in TradeFlow's shape",
                scope=None,
                anonymous=True,
                body=SignUp,
                answer=SignedUp,
                status=201,
                tags=("identity",),
                errors=errors,
            ),
            Route(
                "GET",
                "/api/unify/v1/user/profile",
                self.profile,
                "Who asks, in TradeFlow's shape",
                scope="any",
                answer=TradeUser,
                tags=("identity",),
            ),
        ]


def checked_password(password: str) -> str:
    """A password of 7 to 1,024 characters; raises Problem 422, which does not show it."""
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        expected = f"expected {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters"
        raise Problem(422, f"password: {expected}", parameter="password")
    return password


def invitation_gone() -> Problem:
    """The same words whatever is wrong with an invitation."""
    return Problem(
        410, "invitation: is unknown, used, withdrawn, expired, or for another address", parameter="invitation"
    )


def _trade_user(account: Profile) -> TradeUser:
    role: Literal["user", "admin"] = "admin" if account.deployment_admin else "user"
    return TradeUser(account.id, account.email, account.name, account.plan, role, account.created_at)
