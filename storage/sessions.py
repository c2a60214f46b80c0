"""What a browser signs in with: sessions, one-time links, tickets for streams; their tokens are stored as digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from storage.audit import Actor, record
from storage.database import Database
from storage.identity import Access, Organization, digest, one
from storage.named import load

SESSION_LIFETIME = timedelta(days=30)
"""A session ends when it has not been used for so long."""
SESSION_REFRESH = timedelta(hours=1)
"""How often that is written, at most."""
LINK_LIFETIME = timedelta(hours=1)
TICKET_LIFETIME = timedelta(seconds=60)


@dataclass(frozen=True)
class BrowserSession(Access):
    """A session that has not expired: who is signed in, and to which organization (which they may still enter)."""

    expires_at: datetime


@dataclass(frozen=True)
class SignInLink:
    """Whom a one-time link signs in, and into which organization."""

    account: UUID
    organization: UUID
    email: str


@dataclass(frozen=True)
class _Ticket:
    principal: dict[str, Any]


@dataclass(frozen=True)
class _Pruned:
    pruned: int


async def create_browser_session(
    database: Database,
    token: str,
    account: UUID,
    organization: UUID,
    *,
    now: datetime,
    by: Actor | None = None,
    way: str = "password",
) -> None:
    """Opens a session of `SESSION_LIFETIME`; the audit trail tells of it where somebody signs in by a `way`."""
    values = {
        "digest": digest(token),
        "account": account,
        "organization": organization,
        "now": now,
        "expires_at": now + SESSION_LIFETIME,
    }
    async with database.identity() as connection:
        await connection.execute(load("identity")["create_browser_session"], values)
        if by is not None:
            await record(connection, "sign_in", by, organization=organization, subject=by.name, way=way)


async def find_browser_session(database: Database, token_digest: bytes, *, now: datetime) -> BrowserSession | None:
    """The session, its expiry moved to `SESSION_LIFETIME` from now; that is written at most once an hour."""
    async with database.identity() as connection:
        values = {"digest": token_digest, "now": now}
        session = await one(connection, "find_browser_session", BrowserSession, values)
        if session is None or session.expires_at >= now + SESSION_LIFETIME - SESSION_REFRESH:
            return session
        extended = {"digest": token_digest, "expires_at": now + SESSION_LIFETIME}
        await connection.execute(load("identity")["extend_browser_session"], extended)
        return replace(session, expires_at=now + SESSION_LIFETIME)


async def switch_browser_session(
    database: Database, token_digest: bytes, organization: UUID, *, now: datetime, by: Actor | None = None
) -> Organization | None:
    """The organization that the session is in now; None, and no change, where its account may not enter that one.

    The audit trail tells of it where somebody does it.
    """
    values = {"digest": token_digest, "organization": organization, "now": now}
    async with database.identity() as connection:
        switched = await one(connection, "switch_browser_session", Organization, values)
        if switched is not None and by is not None:
            await record(connection, "organization.enter", by, organization=organization)
        return switched


async def delete_browser_session(database: Database, token_digest: bytes) -> None:
    """Ends the session, if there is one."""
    async with database.identity() as connection:
        await connection.execute(load("identity")["delete_browser_session"], {"digest": token_digest})


async def create_sign_in_link(
    database: Database,
    token: str,
    account: UUID,
    organization: UUID,
    *,
    now: datetime,
    lifetime: timedelta = LINK_LIFETIME,
) -> None:
    """Lets the bearer of the token sign in as this account, once."""
    values = {
        "digest": digest(token),
        "account": account,
        "organization": organization,
        "expires_at": now + lifetime,
    }
    async with database.identity() as connection:
        await connection.execute(load("identity")["create_sign_in_link"], values)


async def consume_sign_in_link(database: Database, token: str, *, now: datetime) -> SignInLink | None:
    """Whom the link signs in; None for one that is unknown, expired, or used, by whoever came first."""
    async with database.identity() as connection:
        return await one(connection, "consume_sign_in_link", SignInLink, {"digest": digest(token), "now": now})


async def create_stream_ticket(database: Database, token: str, principal: Mapping[str, Any], *, now: datetime) -> None:
    """Keeps who asked (as JSON values) for `TICKET_LIFETIME`."""
    values = {"digest": digest(token), "principal": Jsonb(dict(principal)), "expires_at": now + TICKET_LIFETIME}
    async with database.identity() as connection:
        await connection.execute(load("identity")["create_stream_ticket"], values)


async def consume_stream_ticket(database: Database, token: str, *, now: datetime) -> dict[str, Any] | None:
    """Who asked for the ticket, as it was stored; None for one that is unknown, expired, or used."""
    async with database.identity() as connection:
        ticket = await one(connection, "consume_stream_ticket", _Ticket, {"digest": digest(token), "now": now})
        return None if ticket is None else ticket.principal


async def prune_expired(database: Database, *, now: datetime) -> int:
    """Deletes sessions, links, tickets, refresh tokens and invitations that have expired; returns how many."""
    async with database.jobs() as connection:
        row = await one(connection, "prune_expired", _Pruned, {"now": now})
        return 0 if row is None else row.pruned
