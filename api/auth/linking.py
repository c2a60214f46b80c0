"""Whose account a token of another issuer is for: at first sight one is made, and never is one found by an e-mail address."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from api.auth.fresh import Fresh
from api.auth.tokens import TokenVerifier, Verified
from api.errors import Problem
from storage.database import Database
from storage.members import NotInside, OrganizationFull
from storage.people import Link, Newcomer, change_link_email, find_link, take_in

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ForeignIssuer:
    """Another issuer, and how its people are taken in.

    `organization` is the one that they join as members (None: each gets one of their own), `profiles` whether they get a profile.
    """

    verifier: TokenVerifier
    organization: UUID | None = None
    profiles: bool = False


class Links:
    """The accounts of foreign subjects."""

    def __init__(
        self,
        database: Database,
        issuers: Sequence[ForeignIssuer],
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._now = database, now
        self._issuers = {issuer.verifier.issuer: issuer for issuer in issuers}
        self._known: Fresh[tuple[str, str], Link] = Fresh(lambda who: find_link(database, who[0], who[1]), clock=clock)

    async def account(self, verified: Verified) -> UUID:
        """The account that the subject is linked to; a new subject gets a new one."""
        link = await self._known.get((verified.issuer, verified.subject))
        if link is None:
            return await self._take_in(verified)
        told_at, email = verified.issued_at, verified.about.email
        if email and email != link.email and told_at and (link.told_at is None or told_at > link.told_at):
            await change_link_email(self._database, verified.issuer, verified.subject, email=email, told_at=told_at)
        return link.account

    async def _take_in(self, verified: Verified) -> UUID:
        issuer, about = self._issuers[verified.issuer], verified.about
        newcomer = Newcomer(
            verified.issuer,
            verified.subject,
            verified.issued_at,
            issuer.organization,
            email=about.email,
            name=about.name,
            profile=issuer.profiles,
            username=about.username,
            avatar_url=about.avatar_url,
        )
        try:
            account, new = await take_in(self._database, newcomer, now=self._now())
        except (NotInside, OrganizationFull) as error:
            log.warning("newcomer_refused", issuer=verified.issuer, reason=str(error) or "no such organization")
            raise Problem(403, "the organization that you would join takes no more members") from None
        if new:
            log.info("newcomer", issuer=verified.issuer, account=str(account))
        return account
