"""The principal: who a request acts for, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from api.errors import Problem
from storage.identity import Access

Role = Literal["admin", "owner", "member", "key"]

PERSON_SCOPES = frozenset({"read", "events:write"})
"""What everyone who signed in as a person may do in an organization of theirs."""


@dataclass(frozen=True)
class Principal:
    """Who asks, for which organization. A person has an account; an API key has none and acts for its organization.

    `subjects` is what other issuers call the person. `expires_at` is when the credential ends (None: it does not by
    itself). `key` is the prefix of the API key and `session` the digest of the browser session that it came with, by which
    they are found again.
    """

    account: UUID | None
    organization: UUID
    role: Role
    scopes: frozenset[str]
    name: str | None = None
    email: str | None = None
    expires_at: datetime | None = None
    key: str | None = None
    session: bytes | None = None
    subjects: tuple[str, ...] = ()

    @property
    def user_ids(self) -> tuple[str, ...]:
        """The names that events may have for the person: the account's id, then the linked subjects; none for an API key."""
        return () if self.account is None else (str(self.account), *self.subjects)

    def allows(self, scope: str) -> bool:
        """Whether it may do what the scope stands for; to be signed in is enough for 'any'."""
        return scope == "any" or scope in self.scopes

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for a ticket."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Principal:
        """From what `to_json` gave; raises msgspec.ValidationError for anything else."""
        return msgspec.convert(values, cls)


PRINCIPAL = web.RequestKey("principal", Principal)
"""Where a request holds its principal; it has none where nobody signed in."""


def person(access: Access, *, expires_at: datetime | None, session: bytes | None = None) -> Principal:
    """The principal of somebody who signed in to an organization of theirs."""
    return Principal(
        account=access.account,
        organization=access.organization,
        role=access.role,
        scopes=PERSON_SCOPES,
        name=access.name,
        email=access.email,
        expires_at=expires_at,
        session=session,
        subjects=tuple(access.subjects),
    )


def caller(request: web.Request) -> Principal:
    """The request's principal; raises Problem 401 where nobody signed in."""
    principal: Principal | None = request.get(PRINCIPAL)
    if principal is None:
        raise not_signed_in("sign in, or send an API key or an access token")
    return principal


def not_signed_in(detail: str) -> Problem:
    """The answer to a credential that is missing or bad."""
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
