"""People that other issuers vouch for: whom an issuer's subject is linked to, and what an account tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from psycopg.rows import class_row

from storage import identity
from storage.accounts import FIRST_TIER
from storage.audit import Actor, record
from storage.database import AsyncConn, Database
from storage.members import join, lock
from storage.named import load
from storage.profiles import insert_public_profile

_QUERIES = load("people")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Link:
    """The account of an issuer's subject. `email` is what a token said at `told_at`."""

    account: UUID
    email: str | None
    told_at: datetime | None


@dataclass(frozen=True)
class Newcomer:
    """Somebody who is seen for the first time, as a token describes them: bounded text without control characters.

    `organization` is the one that they join as a member; without one they get an organization of their own. `username` is wished
    for; with `profile` they get a profile there.
    """

    issuer: str
    subject: str
    told_at: datetime | None
    organization: UUID | None
    email: str | None = None
    name: str | None = None
    profile: bool = False
    username: str | None = None
    avatar_url: str | None = None


@dataclass(frozen=True)
class AccountDetails:
    """What an account tells of itself. `email` is null where neither we nor its issuer know one."""

    id: UUID
    email: str | None
    name: str | None
    created_at: datetime
    updated_at: datetime


async def find_link(database: Database, issuer: str, subject: str) -> Link | None:
    """Whom the issuer's subject is linked to."""
    async with database.identity() as connection:
        return await _one(connection, "find_link", Link, {"issuer": issuer, "subject": subject})


async def take_in(database: Database, newcomer: Newcomer, *, now: datetime) -> tuple[UUID, bool]:
    """The account that the subject is linked to, and whether it was made now, with all that belongs to it, in one transaction.

    However many processes call it at once, one account is made. Nobody's account is found by an e-mail address: a new subject is a
    new account. Raises NotInside where the organization does not exist, OrganizationFull where it takes no more members.
    """
    who = {"issuer": newcomer.issuer, "subject": newcomer.subject}
    async with database.identity() as connection:
        # A statement of its own: the next one's snapshot is taken after the process before us has committed.
        await connection.execute(_QUERIES["lock_subject"], who)
        link = await _one(connection, "find_link", Link, who)
        if link is not None:
            return link.account, False
        row = await (await connection.execute(_QUERIES["create_person"], {"name": newcomer.name})).fetchone()
        assert row is not None
        account: UUID = row[0]
        said = {"account": account, "email": newcomer.email, "told_at": newcomer.told_at}
        await connection.execute(_QUERIES["create_link"], {**who, **said})
        if newcomer.organization is None:
            name = f"{newcomer.name or newcomer.username or 'Personal'} (own)"
            organization = await identity.insert_organization(connection, name, tier=FIRST_TIER)
            await identity.insert_membership(connection, account, organization, "owner")
        else:
            organization = newcomer.organization
            await lock(connection, organization)
            await join(connection, organization, account, "member", now=now)
        by = Actor(account, newcomer.email, None, now)
        await record(
            connection,
            "account.register",
            by,
            organization=organization,
            subject=newcomer.subject,
            issuer=newcomer.issuer,
        )
        if newcomer.profile:
            await insert_public_profile(
                connection, organization, account, username=newcomer.username, avatar_url=newcomer.avatar_url
            )
        return account, True


async def change_link_email(database: Database, issuer: str, subject: str, *, email: str, told_at: datetime) -> None:
    """Keeps the address that a token of `told_at` says, unless a newer one was seen."""
    values = {"issuer": issuer, "subject": subject, "email": email, "told_at": told_at}
    async with database.identity() as connection:
        await connection.execute(_QUERIES["update_link"], values)


async def find_details(database: Database, account: UUID) -> AccountDetails | None:
    """What the account tells of itself; None where it is gone."""
    async with database.identity() as connection:
        return await _one(connection, "find_details", AccountDetails, {"account": account})


async def rename_account(database: Database, account: UUID, name: str) -> AccountDetails | None:
    """Gives the account another name, and returns what it tells of itself then; None where it is gone."""
    async with database.identity() as connection:
        await connection.execute(_QUERIES["rename_account"], {"account": account, "name": name})
        return await _one(connection, "find_details", AccountDetails, {"account": account})


async def _one(connection: AsyncConn, query: str, shape: type[_T], values: Mapping[str, Any]) -> _T | None:
    async with connection.cursor(row_factory=class_row(shape)) as cursor:
        await cursor.execute(_QUERIES[query], values)
        return await cursor.fetchone()
