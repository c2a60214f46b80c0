"""Who is in an organization, as what; and the transaction in which that may be changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from storage.audit import Actor, record
from storage.database import AsyncConn, Database
from storage.identity import Access, one, several
from storage.named import load

MemberRole = Literal["owner", "member"]


class NotInside(Exception):
    """The organization does not exist, or the account may not enter it: nobody is told which."""


class NotOwner(Exception):
    """The account is in the organization, but does not own it."""


class NoSuchMember(Exception):
    """The account is not in the organization."""


class LastOwner(Exception):
    """The organization would be left without an owner who can sign in."""


class OrganizationFull(Exception):
    """The subscription allows no more members."""


@dataclass(frozen=True)
class Member:
    """An account in an organization, of `total`."""

    account: UUID
    email: str | None
    name: str | None
    role: MemberRole
    created_at: datetime
    disabled: bool
    total: int


@dataclass(frozen=True)
class _Found:
    account: UUID
    email: str | None
    role: MemberRole


@dataclass(frozen=True)
class _Owners:
    owners: int


@dataclass(frozen=True)
class _Room:
    max_users: int | None
    members: int
    invited: int


@asynccontextmanager
async def changing(
    database: Database, organization: UUID, account: UUID, *, owner: bool = True
) -> AsyncIterator[tuple[AsyncConn, Access]]:
    """A transaction that changes an organization, with what the account is in it; one at a time an organization.

    Raises NotInside, and NotOwner where an `owner` (or the deployment's admin) is needed.
    """
    async with database.identity() as connection:
        await lock(connection, organization)
        yield connection, await inside(connection, organization, account, owner=owner)


async def lock(connection: AsyncConn, organization: UUID) -> None:
    """Holds other changes of the organization up until the transaction ends; raises NotInside where there is none."""
    values = {"organization": organization}
    if await (await connection.execute(load("organizations")["lock"], values)).fetchone() is None:
        raise NotInside


async def inside(connection: AsyncConn, organization: UUID, account: UUID, *, owner: bool = False) -> Access:
    """What the account is in the organization; raises NotInside, NotOwner."""
    access = await one(connection, "find_access", Access, {"account": account, "organization": organization})
    if access is None:
        raise NotInside
    if owner and access.role == "member":
        raise NotOwner
    return access


async def list_members(database: Database, organization: UUID, *, limit: int, offset: int) -> list[Member]:
    """A page of the members, those of longest standing first, for whoever is known to be in the organization."""
    async with database.read(organization) as connection:
        return await several(connection, "members", Member, {"limit": limit, "offset": offset}, area="organizations")


async def change_role(database: Database, organization: UUID, member: UUID, role: MemberRole, by: Actor) -> None:
    """Raises NotInside, NotOwner, NoSuchMember, LastOwner."""
    async with changing(database, organization, _person(by)) as (connection, _):
        found = await _member(connection, organization, member)
        if found.role == role:
            return
        if found.role == "owner":
            await _leave_an_owner(connection, organization, member)
        values = {"organization": organization, "account": member, "role": role}
        await connection.execute(load("organizations")["set_role"], values)
        await record(connection, "member.role", by, organization=organization, subject=found.email, role=role)


async def remove_member(database: Database, organization: UUID, member: UUID, by: Actor) -> None:
    """Removes a member, whom an owner may remove, and who may go by themselves. Raises as `change_role` does."""
    own = member == by.account
    async with changing(database, organization, _person(by), owner=not own) as (connection, _):
        found = await _member(connection, organization, member)
        if found.role == "owner":
            await _leave_an_owner(connection, organization, member)
        await connection.execute(load("organizations")["leave"], {"organization": organization, "account": member})
        await record(connection, "member.remove", by, organization=organization, subject=found.email)


async def require_room(
    connection: AsyncConn, organization: UUID, *, now: datetime, for_invitation_of: str = ""
) -> None:
    """Raises OrganizationFull where the members (and, before an invitation, who else is invited) are all that may be."""
    values = {"organization": organization, "now": now, "email": for_invitation_of}
    room = await one(connection, "room", _Room, values, area="organizations")
    if room is None:
        raise NotInside
    if room.max_users is not None and room.members + (room.invited if for_invitation_of else 0) >= room.max_users:
        raise OrganizationFull(f"the organization's subscription allows {room.max_users} members")


async def join(connection: AsyncConn, organization: UUID, account: UUID, role: MemberRole, *, now: datetime) -> bool:
    """Lets an account into an organization that the caller has locked; False where it is in already, whatever as.

    Raises OrganizationFull.
    """
    values = {"organization": organization, "account": account, "role": role, "now": now}
    if await one(connection, "member", _Found, values, area="organizations") is not None:
        return False
    await require_room(connection, organization, now=now)
    await connection.execute(load("organizations")["join"], values)
    return True


async def _member(connection: AsyncConn, organization: UUID, account: UUID) -> _Found:
    values = {"organization": organization, "account": account}
    found = await one(connection, "member", _Found, values, area="organizations")
    if found is None:
        raise NoSuchMember
    return found


async def _leave_an_owner(connection: AsyncConn, organization: UUID, without: UUID) -> None:
    values = {"organization": organization, "account": without}
    found = await one(connection, "other_owners", _Owners, values, area="organizations")
    if found is None or found.owners == 0:
        raise LastOwner


def _person(by: Actor) -> UUID:
    if by.account is None:
        raise NotInside
    return by.account
