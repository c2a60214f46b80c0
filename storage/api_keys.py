"""API keys as their organization manages them: making, listing, revoking, and when each was used last."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from storage.audit import Actor, record
from storage.database import AsyncConn, Database
from storage.identity import one, several
from storage.members import changing, lock
from storage.named import load

MOST_KEYS = 100
"""Keys that an organization may have, revoked ones left out."""
USE_WRITTEN_EVERY = timedelta(minutes=1)


class TooManyKeys(Exception):
    """The organization has as many keys as one may."""


class NoSuchKey(Exception):
    """The organization has no such key."""


@dataclass(frozen=True)
class ListedKey:
    """A key without its secret, of `total`."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    total: int


@dataclass(frozen=True)
class MintedKey:
    """What is stored of a new key, and what it may do."""

    name: str
    prefix: str
    digest: bytes
    scopes: Collection[str]


@dataclass(frozen=True)
class _Living:
    living: int


async def add_key(database: Database, organization: UUID, key: MintedKey, by: Actor) -> ListedKey | None:
    """Stores a key; None where its prefix is taken. Raises NotInside, NotOwner, TooManyKeys.

    An actor without an account is the deployment's own command line, which may.
    """
    if by.account is not None:
        async with changing(database, organization, by.account) as (connection, _):
            return await _add(connection, organization, key, by)
    async with database.identity() as connection:
        await lock(connection, organization)
        return await _add(connection, organization, key, by)


async def revoke_key(database: Database, organization: UUID, key: UUID, by: Actor) -> ListedKey:
    """Revokes a key, again too; raises NotInside, NotOwner, NoSuchKey."""
    if by.account is not None:
        async with changing(database, organization, by.account) as (connection, _):
            return await _revoke(connection, organization, key, by)
    async with database.identity() as connection:
        return await _revoke(connection, organization, key, by)


async def list_keys(database: Database, organization: UUID, *, limit: int, offset: int) -> list[ListedKey]:
    """A page of the keys, the newest first, for whoever is known to own the organization."""
    async with database.read(organization) as connection:
        return await several(connection, "list", ListedKey, {"limit": limit, "offset": offset}, area="api_keys")


async def note_use(database: Database, prefixes: Collection[str], *, now: datetime) -> None:
    """Writes that keys are in use, at most once a minute each, however many processes say so."""
    values = {"prefixes": list(prefixes), "now": now, "due": now - USE_WRITTEN_EVERY}
    async with database.identity() as connection:
        await connection.execute(load("api_keys")["used"], values)


async def _add(connection: AsyncConn, organization: UUID, key: MintedKey, by: Actor) -> ListedKey | None:
    values = {
        "organization": organization,
        "name": key.name,
        "prefix": key.prefix,
        "digest": key.digest,
        "scopes": sorted(set(key.scopes)),
        "now": by.now,
        "created_by": by.account,
    }
    found = await one(connection, "living", _Living, values, area="api_keys")
    if found is not None and found.living >= MOST_KEYS:
        raise TooManyKeys
    made = await one(connection, "create", ListedKey, values, area="api_keys")
    if made is not None:
        await record(
            connection,
            "key.create",
            by,
            organization=organization,
            subject=made.prefix,
            name=made.name,
            scopes=made.scopes,
        )
    return made


async def _revoke(connection: AsyncConn, organization: UUID, key: UUID, by: Actor) -> ListedKey:
    values = {"organization": organization, "key": key, "now": by.now}
    found = await one(connection, "revoke", ListedKey, values, area="api_keys")
    if found is None:
        raise NoSuchKey
    if found.revoked_at == by.now:
        await record(connection, "key.revoke", by, organization=organization, subject=found.prefix, name=found.name)
    return found
