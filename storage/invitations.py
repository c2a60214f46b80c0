"""Invitations: a one-time token, of which the SHA-256 is kept, that lets one e-mail address into an organization."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from storage.audit import Actor, record
from storage.database import AsyncConn, Database
from storage.identity import Organization, digest, one, several
from storage.members import MemberRole, NotInside, changing, join, lock, require_room

INVITATION_LIFETIME = timedelta(days=7)


class InvitationInvalid(Exception):
    """The invitation is unknown, used, withdrawn, expired, or another address's: nobody is told which."""


@dataclass(frozen=True)
class Invitation:
    """Whom an organization waits for, of `total`."""

    id: UUID
    email: str
    role: MemberRole
    invited_by: UUID | None
    created_at: datetime
    expires_at: datetime
    total: int


@dataclass(frozen=True)
class _To:
    organization: UUID


@dataclass(frozen=True)
class _As:
    role: MemberRole


@dataclass(frozen=True)
class _Withdrawn:
    email: str


async def invite(
    database: Database, organization: UUID, email: str, role: MemberRole, token: str, by: Actor
) -> Invitation:
    """Invites an address, in place of an invitation that it has. Raises NotInside, NotOwner, OrganizationFull."""
    if by.account is None:
        raise NotInside
    async with changing(database, organization, by.account) as (connection, _):
        await require_room(connection, organization, now=by.now, for_invitation_of=email)
        values = {
            "digest": digest(token),
            "organization": organization,
            "email": email,
            "role": role,
            "invited_by": by.account,
            "now": by.now,
            "expires_at": by.now + INVITATION_LIFETIME,
        }
        made = await one(connection, "invite", Invitation, values, area="organizations")
        assert made is not None
        await record(connection, "invitation.create", by, organization=organization, subject=email, role=role)
        return made


async def list_invitations(
    database: Database, organization: UUID, *, now: datetime, limit: int, offset: int
) -> list[Invitation]:
    """A page of the open invitations, for whoever is known to own the organization."""
    values = {"now": now, "limit": limit, "offset": offset}
    async with database.read(organization) as connection:
        return await several(connection, "invitations", Invitation, values, area="organizations")


async def withdraw(database: Database, organization: UUID, invitation: UUID, by: Actor) -> None:
    """Raises NotInside, NotOwner, InvitationInvalid."""
    if by.account is None:
        raise NotInside
    async with changing(database, organization, by.account) as (connection, _):
        values = {"organization": organization, "invitation": invitation}
        gone = await one(connection, "withdraw", _Withdrawn, values, area="organizations")
        if gone is None:
            raise InvitationInvalid
        await record(connection, "invitation.withdraw", by, organization=organization, subject=gone.email)


async def accept_invitation(database: Database, token: str, account: UUID, email: str, by: Actor) -> Organization:
    """Lets a signed-in account in. Raises InvitationInvalid, OrganizationFull; then the invitation is still good."""
    async with database.identity() as connection:
        return await enter(connection, token, account, email, by)


async def enter(connection: AsyncConn, token: str, account: UUID, email: str, by: Actor) -> Organization:
    """`accept_invitation` inside a transaction of the caller's. Whoever is a member already stays what they are."""
    values = {"digest": digest(token), "now": by.now, "email": email}
    to = await one(connection, "invitation_to", _To, values, area="organizations")
    if to is None:
        raise InvitationInvalid
    # In the order in which every change goes: the organization first, then what is in it.
    try:
        await lock(connection, to.organization)
    except NotInside:
        raise InvitationInvalid from None
    values |= {"organization": to.organization, "account": account}
    accepted = await one(connection, "accept", _As, values, area="organizations")
    if accepted is None:
        raise InvitationInvalid
    if await join(connection, to.organization, account, accepted.role, now=by.now):
        await record(
            connection, "invitation.accept", by, organization=to.organization, subject=email, role=accepted.role
        )
    found = await one(connection, "find_organization", Organization, values)
    assert found is not None
    return found
