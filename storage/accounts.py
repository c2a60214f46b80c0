"""Accounts of our own: registering, passwords, disabling."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from storage import identity
from storage.audit import Actor, record, record_at_home
from storage.database import AsyncConn, Database
from storage.identity import one, several
from storage.invitations import enter
from storage.members import join, lock
from storage.named import load

FIRST_TIER = "basic"
"""The subscription tier of an organization that somebody makes for themselves."""
FIRST_PLAN = "free"


class EmailTaken(Exception):
    """An account has this e-mail address already."""


@dataclass(frozen=True)
class Profile:
    """An account without its password. `plan` is what its owner chose; it gives no rights.

    It has an address where it signs in with us; one that another issuer vouches for need not have any.
    """

    id: UUID
    email: str | None
    name: str | None
    plan: str
    deployment_admin: bool
    created_at: datetime
    disabled_at: datetime | None


@dataclass(frozen=True)
class ListedProfile(Profile):
    """An account of a list of `total`."""

    total: int


@dataclass(frozen=True)
class NewAccount:
    """What somebody registers with: their own choices, their password hashed."""

    email: str
    password_hash: str
    name: str | None = None
    plan: str = FIRST_PLAN
    deployment_admin: bool = False


async def register_account(
    database: Database, new: NewAccount, invitation: str | None, by: Actor
) -> tuple[Profile, UUID]:
    """The account and the organization that it is in: the one that invited it, else one of its own.

    Raises EmailTaken, InvitationInvalid or OrganizationFull; then nothing was made.
    """
    async with database.identity() as connection:
        made = await insert_profile(connection, new)
        named = Actor(made.id, made.email, by.address, by.now)
        if invitation is not None:
            organization = (await enter(connection, invitation, made.id, new.email, named)).id
        else:
            organization = await own_organization(connection, made, named)
        await record(connection, "account.register", named, organization=organization, subject=made.email)
        return made, organization


async def insert_profile(connection: AsyncConn, new: NewAccount) -> Profile:
    """An account in no organization yet; raises EmailTaken."""
    values = {
        "email": new.email,
        "name": new.name,
        "password_hash": new.password_hash,
        "plan": new.plan,
        "deployment_admin": new.deployment_admin,
    }
    made = await one(connection, "register", Profile, values, area="accounts")
    if made is None:
        raise EmailTaken(new.email)
    return made


async def own_organization(connection: AsyncConn, account: Profile, by: Actor) -> UUID:
    """A new organization that the account owns, named after it."""
    name = account.name or (account.email or "Personal").partition("@")[0]
    made = await identity.insert_organization(connection, name, tier=FIRST_TIER)
    await identity.insert_membership(connection, account.id, made, "owner")
    await record(connection, "organization.create", by, organization=made, subject=name)
    return made


async def find_profile(database: Database, account: UUID) -> Profile | None:
    """The account with this id."""
    async with database.identity() as connection:
        return await one(connection, "find", Profile, {"account": account}, area="accounts")


async def find_profile_by_email(database: Database, email: str) -> Profile | None:
    """The account with this e-mail address, in upper or lower case."""
    async with database.identity() as connection:
        return await one(connection, "find_by_email", Profile, {"email": email}, area="accounts")


async def list_profiles(database: Database, *, limit: int, offset: int) -> list[ListedProfile]:
    """A page of all accounts, the oldest first."""
    values = {"limit": limit, "offset": offset}
    async with database.identity() as connection:
        return await several(connection, "list", ListedProfile, values, area="accounts")


async def change_password(database: Database, whose: Profile, password_hash: str, by: Actor) -> None:
    """Sets the password and ends every session and refresh token that the old one opened."""
    async with database.identity() as connection:
        values = {"account": whose.id, "password_hash": password_hash}
        await connection.execute(load("accounts")["set_password"], values)
        await _sign_out_everywhere(connection, whose, "account.password", by)


async def disable(database: Database, whose: Profile, by: Actor) -> None:
    """Takes an account every way in, known to a second; nothing that belongs to it is deleted."""
    async with database.identity() as connection:
        await connection.execute(load("accounts")["set_disabled"], {"account": whose.id, "disabled_at": by.now})
        await _sign_out_everywhere(connection, whose, "account.disable", by)


async def enable(database: Database, whose: Profile, by: Actor) -> None:
    """Lets a disabled account sign in again."""
    async with database.identity() as connection:
        await connection.execute(load("accounts")["set_disabled"], {"account": whose.id, "disabled_at": None})
        await record_at_home(connection, "account.enable", _about(whose, by), subject=whose.email)


async def _sign_out_everywhere(connection: AsyncConn, whose: Profile, action: str, by: Actor) -> None:
    await connection.execute(load("accounts")["sign_out_everywhere"], {"account": whose.id, "now": by.now})
    await record_at_home(connection, action, _about(whose, by), subject=whose.email)


def _about(whose: Profile, by: Actor) -> Actor:
    """The entry stands where the account's own organization looks for it; its name says who did it."""
    return Actor(whose.id, by.name, by.address, by.now)


async def create_by_command(
    database: Database, new: NewAccount, organization: UUID | None, role: Literal["owner", "member"], by: Actor
) -> Profile:
    """An account made by whoever runs the deployment: in an organization, else in one of its own; an admin needs none.

    Raises EmailTaken, NotInside where the organization does not exist, OrganizationFull.
    """
    async with database.identity() as connection:
        made = await insert_profile(connection, new)
        if organization is not None:
            await lock(connection, organization)
            await join(connection, organization, made.id, role, now=by.now)
        elif not made.deployment_admin:
            organization = await own_organization(connection, made, by)
        await record(connection, "account.register", by, organization=organization, subject=made.email)
        return made
