"""Profiles: by which username an organization knows its people, and what their videos came to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from psycopg.rows import class_row

from storage.database import AsyncConn, Database, StorageRefused
from storage.filled import require
from storage.named import load

_QUERIES = load("people")
_LONGEST_USERNAME = 64


class UsernameTaken(Exception):
    """Somebody else in the organization has this username, in upper or lower case."""


@dataclass(frozen=True)
class PublicProfile:
    """How an organization knows one of its people. `subjects` is what other issuers, and so events, call them."""

    account: UUID
    username: str
    avatar_url: str | None
    created_at: dt.datetime
    updated_at: dt.datetime
    last_active_at: dt.datetime | None
    subjects: list[str]


@dataclass(frozen=True)
class CreatorFigures:
    """What somebody's videos came to, all time, under all of their names: sums over them."""

    videos: int
    likes: int
    dislikes: int
    last_active_at: dt.datetime | None


@dataclass(frozen=True)
class Standing:
    """A person with their figures, and how fresh these are (as in storage.leaderboard.Standings)."""

    profile: PublicProfile | None
    figures: CreatorFigures | None
    as_of: dt.datetime
    read_at: dt.datetime | None
    current: bool = field(default=True)


async def insert_public_profile(
    connection: AsyncConn, organization: UUID, account: UUID, *, username: str | None, avatar_url: str | None
) -> None:
    """Makes a profile inside a transaction of the caller's, unless there is one. A username that is taken gets an ending."""
    await _act_for(connection, organization)
    values = {"organization": organization, "account": account, "avatar_url": avatar_url}
    for candidate in _candidates(username, account):
        made = await connection.execute(_QUERIES["create_profile"], {**values, "username": candidate})
        if made.rowcount:
            return


async def change_profile(
    database: Database,
    organization: UUID,
    account: UUID,
    *,
    username: str | None,
    avatar_url: str | None,
    avatar_given: bool,
    now: dt.datetime,
) -> None:
    """Changes what is given (`avatar_given` with None takes the avatar away), making the profile first. Raises UsernameTaken."""
    values = {
        "organization": organization,
        "account": account,
        "username": username,
        "avatar_url": avatar_url,
        "avatar_given": avatar_given,
        "now": now,
    }
    try:
        async with database.identity() as connection:
            await insert_public_profile(connection, organization, account, username=username, avatar_url=None)
            await connection.execute(_QUERIES["change_profile"], values)
    except StorageRefused as error:
        raise UsernameTaken(username) from error


async def find_standing(database: Database, organization: UUID, id_: str) -> Standing:
    """The person with this id, an account's or a linked subject, and their figures, in one snapshot. Raises NotFilled."""
    async with database.read(organization) as connection:
        await require(connection, "video_engagement", "1d", "views", "last_active")
        row = await (await connection.execute(load("leaderboard")["freshness"])).fetchone()
        assert row is not None
        holds, as_of, newest, read_at = row[:4]
        async with connection.cursor(row_factory=class_row(PublicProfile)) as cursor:
            await cursor.execute(_QUERIES["find_profile"], {"account": _as_uuid(id_), "id": id_})
            profile = await cursor.fetchone()
        names = [id_] if profile is None else [str(profile.account), *profile.subjects]
        async with connection.cursor(row_factory=class_row(CreatorFigures)) as figures:
            await figures.execute(load("leaderboard")["creator_figures"], {"creators": names})
            return Standing(profile, await figures.fetchone(), as_of, read_at, holds >= newest)


async def usernames_of(connection: AsyncConn, creator_ids: Collection[str]) -> dict[str, str]:
    """Inside an organization's read transaction: the usernames of those of these ids (of accounts, or linked subjects) that have one.

    At most one look at an index for each id; ids that nobody has are left out.
    """
    ids = list(creator_ids)
    accounts = [found for found in map(_as_uuid, ids) if found is not None]
    cursor = await connection.execute(_QUERIES["usernames"], {"accounts": accounts, "ids": ids})
    return dict(await cursor.fetchall())


def _as_uuid(text: str) -> UUID | None:
    """The account's id that events would write like this; None for any other text, other spellings of an id too."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


def _candidates(username: str | None, account: UUID) -> list[str]:
    """The last one is nobody else's: it has the whole id. An e-mail address or a real name is not made public by being a default."""
    plain = [f"creator-{account.hex[:8]}", f"creator-{account.hex}"]
    if username is None:
        return plain
    return [username, f"{username[: _LONGEST_USERNAME - 7]}-{account.hex[:6]}", *plain]


async def _act_for(connection: AsyncConn, organization: UUID) -> None:
    await connection.execute(_QUERIES["act_for"], {"organization": str(organization)})
