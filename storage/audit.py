"""The audit trail: what was done, by whom, to what, from where; never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from storage.database import AsyncConn, Database
from storage.identity import one, several
from storage.named import load

KEPT = timedelta(days=400)
"""How long an entry is kept."""


@dataclass(frozen=True)
class Actor:
    """Who does something, when and from which network address. `name` is an e-mail address, or what the command line calls itself."""

    account: UUID | None
    name: str | None
    address: str | None
    now: datetime


@dataclass(frozen=True)
class AuditEntry:
    """One entry as it is read."""

    id: int
    organization: UUID | None
    happened_at: datetime
    action: str
    account: UUID | None
    actor: str | None
    subject: str | None
    address: str | None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Pruned:
    pruned: int


async def record(
    connection: AsyncConn,
    action: str,
    by: Actor,
    *,
    organization: UUID | None = None,
    subject: str | None = None,
    **details: Any,
) -> None:
    """Adds an entry in the transaction of what it tells of: neither is there without the other."""
    await _record(connection, "record", action, by, organization, subject, details)


async def record_at_home(
    connection: AsyncConn, action: str, by: Actor, *, subject: str | None = None, **details: Any
) -> None:
    """Adds an entry to the organization that the actor's account starts in, if any."""
    await _record(connection, "record_at_home", action, by, None, subject, details)


async def _record(
    connection: AsyncConn,
    query: str,
    action: str,
    by: Actor,
    organization: UUID | None,
    subject: str | None,
    details: Mapping[str, Any],
) -> None:
    values = {
        "organization": organization,
        "happened_at": by.now,
        "action": action,
        "account": by.account,
        "actor": by.name,
        "subject": subject,
        "address": by.address,
        "details": Jsonb(dict(details)),
    }
    await connection.execute(load("audit")[query], values)


async def list_audit(
    database: Database, organization: UUID, *, limit: int, before: int | None = None, action: str | None = None
) -> list[AuditEntry]:
    """An organization's entries, the newest first; `before` is the id of the last one seen."""
    values = {"limit": limit, "before": before, "action": action}
    async with database.read(organization) as connection:
        return await several(connection, "of_organization", AuditEntry, values, area="audit")


async def list_whole_audit(
    database: Database, *, limit: int, before: int | None = None, action: str | None = None
) -> list[AuditEntry]:
    """Everybody's entries, for the deployment's admin: those of no organization too."""
    values = {"limit": limit, "before": before, "action": action}
    async with database.identity() as connection:
        return await several(connection, "of_deployment", AuditEntry, values, area="audit")


async def prune_audit(database: Database, *, now: datetime) -> int:
    """Deletes what is older than `KEPT`; returns how many entries."""
    async with database.jobs() as connection:
        found = await one(connection, "prune", _Pruned, {"before": now - KEPT}, area="audit")
        return 0 if found is None else found.pruned
