"""Refresh tokens: a family a sign-in, each token good once, of which only the newest one's SHA-256 is kept.

A token begins with its family's id (122 random bits, shown nowhere else), so one that names a family and is not its newest was
used before: somebody has it who should not. Nothing has to be kept of used tokens to know that, however often they are changed.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from storage.audit import Actor, record_at_home
from storage.database import AsyncConn, Database
from storage.identity import digest, one
from storage.named import load

REFRESH_LIFETIME = timedelta(days=30)
"""A token that is not used for so long is worth nothing, nor is its family."""
_ID, _SECRET = 16, 32
_LENGTH = (_ID + _SECRET) * 4 // 3

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True)
class SignedIn:
    """Whose family it is."""

    id: UUID
    email: str


async def open_family(
    connection: AsyncConn, account: UUID, *, now: datetime, random_bytes: RandomBytes = secrets.token_bytes
) -> str:
    """The first token of a new family."""
    family = UUID(bytes=random_bytes(_ID), version=4)
    token = _token(family, random_bytes)
    values = {
        "family": family,
        "account": account,
        "digest": digest(token),
        "now": now,
        "expires_at": now + REFRESH_LIFETIME,
    }
    await connection.execute(load("accounts")["open_family"], values)
    return token


async def rotate(
    database: Database, token: str, by: Actor, *, random_bytes: RandomBytes = secrets.token_bytes
) -> tuple[SignedIn, str] | None:
    """Whose token it is, and the next one; None for one that is unknown, expired or revoked, or whose account is disabled.

    A token that was used before revokes its family, and so does the second of two that come with one token at once: who came
    first may be the thief, and nobody can tell. There is no grace for an answer that was lost: a grace is what a thief would use.
    """
    family = _family(token)
    if family is None:
        return None
    following = _token(family, random_bytes)
    values = {
        "family": family,
        "digest": digest(token),
        "now": by.now,
        "next": digest(following),
        "next_expires_at": by.now + REFRESH_LIFETIME,
    }
    async with database.identity() as connection:
        who = await one(connection, "rotate", SignedIn, values, area="accounts")
        if who is not None:
            return who, following
        reused = await one(connection, "revoke_reused", SignedIn, values, area="accounts")
        if reused is not None:
            named = Actor(reused.id, reused.email, by.address, by.now)
            await record_at_home(connection, "refresh.reuse", named, subject=reused.email)
        return None


async def end_family(database: Database, token: str, *, now: datetime) -> None:
    """Revokes the family of a token, the newest one or not: whoever has one may end it."""
    family = _family(token)
    if family is not None:
        async with database.identity() as connection:
            await connection.execute(load("accounts")["end_family"], {"family": family, "now": now})


def _token(family: UUID, random_bytes: RandomBytes) -> str:
    return base64.urlsafe_b64encode(family.bytes + random_bytes(_SECRET)).decode()


def _family(token: str) -> UUID | None:
    """The family that a token names; None for a text that is no token."""
    if len(token) != _LENGTH or not token.isascii():
        return None
    try:
        return UUID(bytes=base64.b64decode(token, altchars=b"-_", validate=True)[:_ID])
    except binascii.Error:
        return None


async def sign_in(
    database: Database, by: Actor, account: UUID, *, random_bytes: RandomBytes = secrets.token_bytes
) -> str:
    """The first refresh token of somebody who knew the password, and the entry that says so."""
    async with database.identity() as connection:
        await record_at_home(connection, "sign_in", by, subject=by.name, way="password")
        return await open_family(connection, account, now=by.now, random_bytes=random_bytes)
