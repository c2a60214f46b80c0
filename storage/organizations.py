"""Organizations: which there are, whose they are, what they are called and what their subscription allows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage import identity
from storage.accounts import FIRST_TIER
from storage.audit import Actor, record
from storage.database import AsyncConn, Database
from storage.identity import Role, one, several
from storage.members import NotInside, changing, inside
from storage.named import load

MOST_OWNED = 20
"""Organizations that one account may own."""


class TooManyOwned(Exception):
    """The account owns as many organizations as one may."""


class UnknownTier(Exception):
    """There is no such subscription tier; its text names those that there are."""


@dataclass(frozen=True)
class OrganizationRecord:
    """An organization; limits that are None are none."""

    id: UUID
    name: str
    time_zone: str
    demo: bool
    subscription_tier: str
    max_users: int | None
    max_models: int | None
    max_comparisons_per_month: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class ListedOrganization(OrganizationRecord):
    """An organization that an account may enter, of `total`."""

    role: Role
    total: int


@dataclass(frozen=True)
class _Owned:
    owned: int


async def existing(database: Database, wanted: Collection[UUID]) -> set[UUID]:
    """Of these ids, those of organizations that exist."""
    async with database.identity() as connection:
        cursor = await connection.execute("select id from store.organization where id = any(%s)", (list(wanted),))
        return {found for (found,) in await cursor.fetchall()}


async def found_organization(
    database: Database, name: str, time_zone: str, account: UUID, by: Actor
) -> OrganizationRecord:
    """A new organization that the account owns; raises TooManyOwned."""
    async with database.identity() as connection:
        owned = await one(connection, "owned", _Owned, {"account": account}, area="organizations")
        if owned is None or owned.owned >= MOST_OWNED:
            raise TooManyOwned
        made = await identity.insert_organization(connection, name, time_zone=time_zone, tier=FIRST_TIER)
        await identity.insert_membership(connection, account, made, "owner")
        await record(connection, "organization.create", by, organization=made, subject=name)
        return await _read(connection, made)


async def read_organization(database: Database, organization: UUID) -> OrganizationRecord:
    """The organization, for whoever is known to be in it; raises NotInside where it is gone."""
    async with database.identity() as connection:
        return await _read(connection, organization)


async def enter_organization(database: Database, organization: UUID, account: UUID) -> tuple[OrganizationRecord, Role]:
    """The organization and what the account is there; raises NotInside."""
    async with database.identity() as connection:
        access = await inside(connection, organization, account)
        return await _read(connection, organization), access.role


async def list_organizations(database: Database, account: UUID, *, limit: int, offset: int) -> list[ListedOrganization]:
    """A page of those that the account may enter, the oldest first; for the deployment's admin that is all."""
    values = {"account": account, "limit": limit, "offset": offset}
    async with database.identity() as connection:
        return await several(connection, "list", ListedOrganization, values, area="organizations")


async def change_organization(
    database: Database, organization: UUID, account: UUID, by: Actor, *, name: str | None, time_zone: str | None
) -> tuple[OrganizationRecord, Role]:
    """What is not None is changed. Raises NotInside, NotOwner."""
    async with changing(database, organization, account) as (connection, access):
        values = {"organization": organization, "name": name, "time_zone": time_zone, "now": by.now}
        await connection.execute(load("organizations")["change"], values)
        changed = {key: value for key, value in (("name", name), ("time_zone", time_zone)) if value is not None}
        await record(connection, "organization.change", by, organization=organization, **changed)
        return await _read(connection, organization), access.role


async def change_tier(database: Database, organization: UUID, tier: str, by: Actor) -> OrganizationRecord:
    """Gives the organization a tier and its limits; who is in it stays. For the deployment's admin, and for billing.

    Raises NotInside, UnknownTier.
    """
    async with database.identity() as connection:
        before = await _read(connection, organization)
        values = {"organization": organization, "tier": tier, "now": by.now}
        if await (await connection.execute(load("organizations")["change_tier"], values)).fetchone() is None:
            known = await (await connection.execute(load("organizations")["tiers"])).fetchall()
            raise UnknownTier(", ".join(name for (name,) in known))
        await record(
            connection,
            "organization.tier",
            by,
            organization=organization,
            subject=tier,
            before=before.subscription_tier,
        )
        return await _read(connection, organization)


async def _read(connection: AsyncConn, organization: UUID) -> OrganizationRecord:
    values = {"organization": organization}
    found = await one(connection, "read", OrganizationRecord, values, area="organizations")
    if found is None:
        raise NotInside
    return found


async def organization_name(connection: AsyncConn) -> str:
    """The name of the organization whose read transaction this is."""
    row = await (await connection.execute("select name from app.organization_profile")).fetchone()
    return str(row[0]) if row is not None else ""
