"""Organizations, accounts, memberships and API keys: who there is and what they may enter."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

from psycopg.rows import class_row

from storage.database import AsyncConn, Database
from storage.named import load

MOST_ORGANIZATIONS = 1000
"""As many of the organizations open to an account are listed at once."""
NO_LIMITS = "enterprise"
"""The subscription tier of the deployment's own organizations."""

Role = Literal["admin", "owner", "member"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Account:
    """A person who can sign in. `deployment_admin` may enter every organization."""

    id: UUID
    email: str
    name: str | None
    password_hash: str = field(repr=False)
    deployment_admin: bool
    disabled_at: datetime | None


@dataclass(frozen=True)
class Organization:
    """What an organization is called, and whether its data is simulated."""

    id: UUID
    name: str
    demo: bool


@dataclass(frozen=True)
class Access:
    """What an account is in an organization that it may enter: the deployment's `admin`, an `owner` or a `member`.

    `subjects` is what other issuers call the person: with the account's id, the names that events may have for them.
    """

    account: UUID
    email: str | None
    name: str | None
    organization: UUID
    organization_name: str
    demo: bool
    role: Role
    subjects: list[str] = field(default_factory=list, kw_only=True)


@dataclass(frozen=True)
class ApiKey:
    """A key that is not revoked; `digest` is the SHA-256 of its whole text."""

    id: UUID
    organization: UUID
    name: str
    prefix: str
    digest: bytes = field(repr=False)
    scopes: list[str]


def digest(token: str) -> bytes:
    """The SHA-256 of a token: all that is ever stored of it."""
    return hashlib.sha256(token.encode()).digest()


async def create_organization(database: Database, name: str, *, time_zone: str = "UTC", demo: bool = False) -> UUID:
    """Its id. `time_zone` is an IANA name that the caller has checked."""
    async with database.identity() as connection:
        return await insert_organization(connection, name, time_zone=time_zone, demo=demo)


async def create_account(
    database: Database, email: str, password_hash: str, *, name: str | None = None, deployment_admin: bool = False
) -> UUID:
    """Its id; raises StorageRefused where the e-mail address (in any case) is taken."""
    async with database.identity() as connection:
        return await insert_account(connection, email, password_hash, name=name, deployment_admin=deployment_admin)


async def create_membership(
    database: Database, account: UUID, organization: UUID, role: Literal["owner", "member"]
) -> None:
    """Makes the account a member, or changes its role; raises StorageRefused where one of the two does not exist."""
    async with database.identity() as connection:
        await insert_membership(connection, account, organization, role)


async def create_api_key(
    database: Database, organization: UUID, name: str, *, prefix: str, key_digest: bytes, scopes: Collection[str]
) -> UUID:
    """Its id; raises StorageRefused where the prefix is taken (mint another key then)."""
    async with database.identity() as connection:
        return await insert_api_key(connection, organization, name, prefix=prefix, key_digest=key_digest, scopes=scopes)


async def find_api_key(database: Database, prefix: str) -> ApiKey | None:
    """The key with this prefix, unless it is revoked. Its digest is for the caller to compare."""
    async with database.identity() as connection:
        return await one(connection, "find_api_key", ApiKey, {"prefix": prefix})


async def find_account(database: Database, email: str) -> Account | None:
    """The account with this e-mail address, in upper or lower case."""
    async with database.identity() as connection:
        return await one(connection, "find_account", Account, {"email": email})


async def find_organization(database: Database, organization: UUID) -> Organization | None:
    """The organization, for whoever is known to be in it."""
    async with database.identity() as connection:
        return await one(connection, "find_organization", Organization, {"organization": organization})


async def find_access(database: Database, account: UUID, organization: UUID | None) -> Access | None:
    """What the account is in this organization (None: in the one it starts in); None where it may not enter."""
    if organization is None:
        return next(iter(await list_access(database, account, limit=1)), None)
    async with database.identity() as connection:
        return await one(connection, "find_access", Access, {"account": account, "organization": organization})


async def list_access(database: Database, account: UUID, *, limit: int = MOST_ORGANIZATIONS) -> list[Access]:
    """The organizations that the account may enter: its own, the one it starts in first; for an admin, then the rest."""
    async with database.identity() as connection, connection.cursor(row_factory=class_row(Access)) as cursor:
        await cursor.execute(load("identity")["list_access"], {"account": account, "limit": limit})
        return await cursor.fetchall()


async def insert_organization(
    connection: AsyncConn, name: str, *, time_zone: str = "UTC", demo: bool = False, tier: str = NO_LIMITS
) -> UUID:
    """`create_organization` inside a transaction of the caller's, with the limits of an existing subscription tier."""
    values = {"name": name, "time_zone": time_zone, "demo": demo, "tier": tier}
    return await new_id(connection, "create_organization", values)


async def insert_account(
    connection: AsyncConn, email: str, password_hash: str, *, name: str | None = None, deployment_admin: bool = False
) -> UUID:
    """`create_account` inside a transaction of the caller's."""
    values = {"email": email, "name": name, "password_hash": password_hash, "deployment_admin": deployment_admin}
    return await new_id(connection, "create_account", values)


async def insert_membership(
    connection: AsyncConn, account: UUID, organization: UUID, role: Literal["owner", "member"]
) -> None:
    """`create_membership` inside a transaction of the caller's."""
    values = {"account": account, "organization": organization, "role": role}
    await connection.execute(load("identity")["create_membership"], values)


async def insert_api_key(
    connection: AsyncConn, organization: UUID, name: str, *, prefix: str, key_digest: bytes, scopes: Collection[str]
) -> UUID:
    """`create_api_key` inside a transaction of the caller's."""
    values = {
        "organization": organization,
        "name": name,
        "prefix": prefix,
        "digest": key_digest,
        "scopes": sorted(scopes),
    }
    return await new_id(connection, "create_api_key", values)


async def one(
    connection: AsyncConn, query: str, shape: type[_T], values: Mapping[str, Any], *, area: str = "identity"
) -> _T | None:
    """The first row of a named query as an object of this shape."""
    async with connection.cursor(row_factory=class_row(shape)) as cursor:
        await cursor.execute(load(area)[query], values)
        return await cursor.fetchone()


async def several(
    connection: AsyncConn, query: str, shape: type[_T], values: Mapping[str, Any], *, area: str
) -> list[_T]:
    """Every row of a named query, which bounds their number itself."""
    async with connection.cursor(row_factory=class_row(shape)) as cursor:
        await cursor.execute(load(area)[query], values)
        return await cursor.fetchall()


async def new_id(connection: AsyncConn, query: str, values: Mapping[str, Any]) -> UUID:
    """The id that a named insert returns."""
    row = await (await connection.execute(load("identity")[query], values)).fetchone()
    assert row is not None
    made: UUID = row[0]
    return made
