"""The first start on an empty database: an organization, its admin and a key; and the demo organization."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from storage import identity
from storage.database import AsyncConn, Database
from storage.named import load

DEFAULT_ORGANIZATION = "Default"
DEMO_ORGANIZATION = "Demo (simulated data)"
ADMIN_EMAIL = "admin@streamgauge.local"
FIRST_SCOPES = ("events:write", "read")

_LOCK = 7_205_759_403_792_792


@dataclass(frozen=True)
class FirstSecrets:
    """What the first account and the first key sign in with, in plain text and as it is stored."""

    password: str = field(repr=False)
    password_hash: str = field(repr=False)
    api_key: str = field(repr=False)
    key_prefix: str
    key_digest: bytes = field(repr=False)


@dataclass(frozen=True)
class Bootstrap:
    """The organization of the host's own metrics, the deployment's first admin, and the secrets if they are new."""

    organization: UUID
    admin: UUID | None
    secrets: FirstSecrets | None


@dataclass(frozen=True)
class _Found:
    accounts: bool
    admin: UUID | None
    organization: UUID | None


@dataclass(frozen=True)
class _Id:
    id: UUID


async def bootstrap(
    database: Database,
    make_secrets: Callable[[], Awaitable[FirstSecrets]],
    keep: Callable[[Bootstrap], None] | None = None,
) -> Bootstrap:
    """Fills a database that has no account yet, and leaves any other as it is. Of many that start at once, one does it.

    `keep` (which writes credentials.json) is called before the commit: where it fails, or the process ends in it,
    nothing was made, and the next start makes and keeps other secrets. No account is left that nobody can enter.
    """
    async with database.identity() as connection:
        await _lock(connection)
        found = await identity.one(connection, "bootstrapped", _Found, {})
        assert found is not None
        organization = found.organization or await identity.insert_organization(connection, DEFAULT_ORGANIZATION)
        if found.accounts:
            return Bootstrap(organization, found.admin, None)
        secrets = await make_secrets()
        admin = await identity.insert_account(connection, ADMIN_EMAIL, secrets.password_hash, deployment_admin=True)
        await identity.insert_membership(connection, admin, organization, "owner")
        await identity.insert_api_key(
            connection,
            organization,
            "First key",
            prefix=secrets.key_prefix,
            key_digest=secrets.key_digest,
            scopes=FIRST_SCOPES,
        )
        made = Bootstrap(organization, admin, secrets)
        if keep is not None:
            keep(made)
        return made


async def first_organization(database: Database) -> UUID | None:
    """The organization of the host's own metrics; None before the first start."""
    async with database.identity() as connection:
        found = await identity.one(connection, "bootstrapped", _Found, {})
        return None if found is None else found.organization


async def ensure_demo_organization(database: Database) -> UUID:
    """The organization of the simulated data, made where there is none; the deployment's admins own it."""
    async with database.identity() as connection:
        await _lock(connection)
        found = await identity.one(connection, "find_demo_organization", _Id, {})
        if found is None:
            organization = await identity.insert_organization(connection, DEMO_ORGANIZATION, demo=True)
        else:
            organization = found.id
        await connection.execute(load("identity")["let_admins_own"], {"organization": organization})
        return organization


async def _lock(connection: AsyncConn) -> None:
    # A statement of its own: the next one's snapshot is taken after the process before us has committed.
    await connection.execute(load("identity")["lock_bootstrap"], {"lock": _LOCK})
