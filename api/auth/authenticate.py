"""Who a request acts for: from a bearer token, an API key, a stream's ticket or the page's cookie."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import structlog
from aiohttp import web

from api.auth import cookies
from api.auth.arrivals import Arrivals
from api.auth.fresh import Fresh
from api.auth.jwks import KeysUnavailable
from api.auth.keys import Keys, looks_like_key
from api.auth.linking import ForeignIssuer, Links
from api.auth.principal import Principal, not_signed_in, person
from api.auth.tickets import ticket_of
from api.auth.tokens import (
    ACCESS_TOKEN_LIFETIME,
    CLOCK_LEEWAY,
    OwnTokens,
    TokenRefused,
    TokenVerifier,
    Verified,
    issuer_of,
)
from api.errors import Problem
from storage.credentials import living
from storage.database import Database
from storage.identity import Access, digest, find_access
from storage.sessions import BrowserSession, consume_stream_ticket, find_browser_session

log = structlog.get_logger(__name__)

ORGANIZATION_HEADER = "X-Organization-ID"


_MOST_LET_IN = 2_000
_LONGEST_LET_IN = 4_096

LET_IN_UNTIL = web.RequestKey("let_in_until", float)
"""Until when on the authenticator's clock a request with the same headers is let in as the same principal, unseen."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Authenticator:
    """Finds and checks the credential of a request. `issuers` are others than ourselves, whose tokens are let in too.

    Raises ValueError for a secret of less than 32 bytes, or an issuer that stands twice.
    """

    def __init__(
        self,
        database: Database,
        secret: bytes,
        *,
        issuers: Sequence[ForeignIssuer] = (),
        token_lifetime: timedelta = ACCESS_TOKEN_LIFETIME,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tokens = OwnTokens(secret, lifetime=token_lifetime)
        self.now = now
        self.arrivals = Arrivals(database, now, clock)
        self._database = database
        verifiers: list[TokenVerifier] = [self.tokens, *(issuer.verifier for issuer in issuers)]
        self._verifiers = {verifier.issuer: verifier for verifier in verifiers}
        if len(self._verifiers) != len(verifiers):
            raise ValueError("an issuer of tokens stands twice")
        self._links = Links(database, issuers, now=now, clock=clock)
        self._keys = Keys(database, clock=clock)
        self.clock = clock
        # By the headers that credentials stand in: who was let in with them, and until when on the clock that is believed.
        self._let_in: dict[tuple[str | None, ...], tuple[Principal, float]] = {}
        self._access: Fresh[tuple[UUID, UUID | None], Access] = Fresh(
            lambda who: find_access(database, who[0], who[1]), clock=clock
        )
        # Only for `holds`: what a request sees must follow a switch of organization at once, in every process.
        self._sessions: Fresh[bytes, BrowserSession] = Fresh(
            lambda token_digest: find_browser_session(database, token_digest, now=now()), clock=clock
        )

    def clock_before(self, moment: float) -> bool:
        """Whether it is not yet that time on the clock."""
        return self.clock() < moment

    def knows(self, request: web.Request) -> bool:
        """Whether somebody was let in with the same headers of late: it costs nothing to look at them again. Raises Problem 400."""
        return _given(request) in self._let_in

    async def authenticate(self, request: web.Request) -> Principal | None:
        """Who asks; None where there is no credential (or only the cookie of a session that has ended).

        Raises Problem 401 for a credential that is bad, 403 for an organization that is not the caller's or a cookie
        sent by another site, 400 for headers that cannot be read. Where there are several credentials, the first in
        the order of this function counts.
        """
        given = authorization, key, organization = _given(request)
        known = self._let_in.get(given)
        if known is not None and self.clock() < known[1]:
            request[LET_IN_UNTIL] = known[1]
            return known[0]
        wanted = None if organization is None else _organization_id(organization, ORGANIZATION_HEADER)
        if authorization is not None:
            scheme, _, text = authorization.partition(" ")
            if scheme.lower() != "bearer" or not text.strip():
                raise not_signed_in("Authorization: expected Bearer and an access token or an API key")
            found = await self._bearer(text.strip(), wanted)
            return self._remembered(request, given, *found)
        if key is not None:
            return self._remembered(request, given, *await self._by_key(key.strip(), wanted))
        if (ticket := ticket_of(request)) is not None:
            return await self._by_ticket(ticket, wanted)
        token = cookies.session_token(request)
        return None if token is None else await self._by_cookie(request, token, wanted)

    async def acting_for(self, principal: Principal, text: str, name: str) -> Principal:
        """The principal in the organization with the id `text`, which the parameter `name` gave.

        Raises Problem 400 where it is no UUID, 403 where they may not act for it; the rule is that of X-Organization-ID.
        """
        wanted = _organization_id(text, name)
        if wanted == principal.organization:
            return principal
        access = None if principal.account is None else await self._access.get((principal.account, wanted))
        if access is None:
            raise _not_yours(name)
        return replace(principal, organization=access.organization, role=access.role)

    async def authenticate_bearer(self, text: str, wanted: UUID | None) -> Principal:
        """Who bears an access token or an API key, in the `wanted` organization or where they start; raises Problem 401, 403."""
        return (await self._bearer(text.strip(), wanted))[0]

    async def _bearer(self, text: str, wanted: UUID | None) -> tuple[Principal, float]:
        return await (self._by_key(text, wanted) if looks_like_key(text) else self._by_token(text, wanted))

    def expired(self, principal: Principal) -> bool:
        """Whether its credential has ended by its own time."""
        return principal.expires_at is not None and principal.expires_at <= self.now()

    async def lapsed(self, principals: Collection[Principal]) -> list[Principal]:
        """Those that would not be let in any more, or not as what they were: one look at the database for all of them.

        Raises StorageUnavailable.
        """
        people = [p for p in principals if p.key is None]
        found = await living(
            self._database,
            keys={p.key for p in principals if p.key is not None},
            sessions={p.session for p in people if p.session is not None},
            access={(p.account, p.organization) for p in people if p.account is not None},
            now=self.now(),
        )

        def holds(p: Principal) -> bool:
            if self.expired(p):
                return False
            if p.key is not None:
                return p.key in found.keys
            if p.account is None or (p.session is not None and p.session not in found.sessions):
                return False
            return found.roles.get((p.account, p.organization)) == p.role

        return [p for p in principals if not holds(p)]

    async def holds(self, principal: Principal) -> bool:
        """Whether a principal of a while ago would be let in again (known to a second): for answers that last."""
        if self.expired(principal):
            return False
        if principal.key is not None:
            return await self._keys.holds(principal.key)
        if principal.account is None:
            return False
        if principal.session is not None and await self._sessions.get(principal.session) is None:
            return False
        return await self._access.get((principal.account, principal.organization)) is not None

    def _remembered(
        self, request: web.Request, given: tuple[str | None, ...], principal: Principal, until: float
    ) -> Principal:
        """The principal, who is let in with the same headers until then: no later than what was looked up may be believed."""
        if len(self._let_in) >= _MOST_LET_IN:
            self._let_in.clear()
        if sum(len(text) for text in given if text) <= _LONGEST_LET_IN:
            self._let_in[given] = (principal, until)
            request[LET_IN_UNTIL] = until
        return principal

    async def _by_key(self, text: str, wanted: UUID | None) -> tuple[Principal, float]:
        key, until = await self._keys.verified(text)
        if key is None:
            raise not_signed_in("the API key is not valid")
        principal = Principal(None, key.organization, "key", frozenset(key.scopes), name=key.name, key=key.prefix)
        return _only_its_own(principal, wanted), until

    async def _by_token(self, token: str, wanted: UUID | None) -> tuple[Principal, float]:
        try:
            verifier = self._verifiers.get(issuer_of(token))
            if verifier is None:
                raise TokenRefused("the access token is not valid")
            verified = await verifier.verify(token)
        except TokenRefused as error:
            raise not_signed_in(str(error)) from error
        except KeysUnavailable as error:
            log.warning("token_not_checked", reason=str(error))
            raise Problem(
                503, "access tokens of this issuer cannot be checked now", headers={"Retry-After": "5"}
            ) from error
        account = await self._account(verified)
        access, until = await self._access.dated((account, wanted))
        if access is None and wanted is not None and await self._access.get((account, None)) is not None:
            raise _not_yours()
        if access is None:
            raise not_signed_in("the account is gone, or is in no organization any more")
        left = (verified.expires_at + CLOCK_LEEWAY - self.now()).total_seconds()
        return person(access, expires_at=verified.expires_at), min(until, self.clock() + left)

    async def _account(self, verified: Verified) -> UUID:
        """The account of a token's subject. Our own tokens name it; other issuers' subjects are linked to one."""
        if verified.issuer != self.tokens.issuer:
            return await self._links.account(verified)
        try:
            return UUID(verified.subject)
        except ValueError:
            raise not_signed_in("the access token is not valid") from None

    async def _by_ticket(self, ticket: str, wanted: UUID | None) -> Principal:
        fits = ticket.isascii() and len(ticket) <= cookies.LONGEST_TOKEN
        stored = await consume_stream_ticket(self._database, ticket, now=self.now()) if fits else None
        principal = None if stored is None else Principal.from_json(stored)
        # Whoever asked for the ticket may have lost their key or their place since then.
        if principal is None or not await self.holds(principal):
            raise not_signed_in("the ticket is unknown, used or expired; ask for another one")
        return _only_its_own(principal, wanted)

    async def _by_cookie(self, request: web.Request, token: str, wanted: UUID | None) -> Principal | None:
        token_digest = digest(token)
        session = await find_browser_session(self._database, token_digest, now=self.now())
        if session is None:
            # A browser goes on sending the cookie of a session that has ended; it must still reach the sign-in form.
            return None
        if cookies.opens_socket(request) and not cookies.same_origin(request):
            # A page of another origin signs in with its first message; that our cookie came along means nothing.
            return None
        cookies.require_same_origin(request)
        principal = person(session, expires_at=session.expires_at, session=token_digest)
        if wanted is None or wanted == principal.organization:
            return principal
        access = await self._access.get((session.account, wanted))
        if access is None:
            raise _not_yours()
        return replace(principal, organization=access.organization, role=access.role)


_NONE: list[str] = []


def _given(request: web.Request) -> tuple[str | None, str | None, str | None]:
    """The headers that credentials stand in, and the one that names an organization."""
    return _single(request, "Authorization"), _single(request, "X-API-Key"), _single(request, ORGANIZATION_HEADER)


def _single(request: web.Request, name: str) -> str | None:
    values = request.headers.getall(name, _NONE)
    if len(values) > 1:
        raise Problem(400, f"{name}: stands more than once", parameter=name)
    return values[0] if values else None


def wanted_organization(request: web.Request) -> UUID | None:
    """The organization that the request's header asks for; raises Problem 400 for what is no id."""
    text = _single(request, ORGANIZATION_HEADER)
    return None if text is None else _organization_id(text, ORGANIZATION_HEADER)


def _organization_id(text: str, name: str) -> UUID:
    try:
        return msgspec.convert(text.strip(), UUID)
    except (msgspec.ValidationError, UnicodeEncodeError):
        raise Problem(400, f"{name}: expected an organization's id, a UUID", parameter=name) from None


def _only_its_own(principal: Principal, wanted: UUID | None) -> Principal:
    """API keys and tickets stay in the organization that they were made for."""
    if wanted is not None and wanted != principal.organization:
        raise _not_yours()
    return principal


def _not_yours(name: str = ORGANIZATION_HEADER) -> Problem:
    # The same words for an organization of others and for one that does not exist.
    return Problem(403, f"{name}: this is not an organization of yours", parameter=name)
