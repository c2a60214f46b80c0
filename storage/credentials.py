"""Which of many credentials still let their bearers in, in one look."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.database import Database
from storage.named import load
from storage.sessions import SESSION_LIFETIME, SESSION_REFRESH


@dataclass(frozen=True)
class Living:
    """What is left of the credentials that were asked for: prefixes of keys, digests of sessions, roles by account and organization."""

    keys: frozenset[str]
    sessions: frozenset[bytes]
    roles: dict[tuple[UUID, UUID], str]


async def living(
    database: Database,
    *,
    keys: Collection[str],
    sessions: Collection[bytes],
    access: Collection[tuple[UUID, UUID]],
    now: datetime,
) -> Living:
    """Looks at all of them; sessions found count as used. Raises StorageUnavailable."""
    queries = load("credentials")
    found_keys, found_sessions, roles = frozenset[str](), frozenset[bytes](), dict[tuple[UUID, UUID], str]()
    async with database.identity() as connection:
        if keys:
            cursor = await connection.execute(queries["living_keys"], {"keys": list(keys)})
            found_keys = frozenset([row[0] for row in await cursor.fetchall()])
        if sessions:
            end = now + SESSION_LIFETIME
            values = {"sessions": list(sessions), "now": now, "extended": end, "due": end - SESSION_REFRESH}
            await connection.execute(queries["extend_sessions"], values)
            cursor = await connection.execute(queries["living_sessions"], values)
            found_sessions = frozenset([row[0] for row in await cursor.fetchall()])
        if access:
            accounts, organizations = zip(*access, strict=True)
            values = {"accounts": list(accounts), "organizations": list(organizations)}
            cursor = await connection.execute(queries["living_access"], values)
            roles = {(account, organization): role for account, organization, role in await cursor.fetchall()}
    return Living(found_keys, found_sessions, roles)
