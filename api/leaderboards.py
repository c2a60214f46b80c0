"""`GET /users/top`: the creators' leaderboard, in the shape of the video feed's user profiles."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.principal import caller
from api.freshness import ALWAYS, fresh
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage.database import Database
from storage.leaderboard import top_creators

MAX_CREATORS = 500
CATCH_UP_S = 10.0
LOOK_AGAIN_S = 0.2
LOOK_AGAIN = dt.timedelta(seconds=0.5)
"""How long a board that is behind is kept: it is refreshed without another commit."""


class TopQuery(msgspec.Struct):
    """How many."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_CREATORS)] = 20


class TopCreator(msgspec.Struct, rename="camel"):
    """A creator with their place. `username` is the creator's id until an account gives it a name; the e-mail address is its owner's."""

    id: str
    username: str
    email: str | None
    videos_created: int
    total_likes: int
    total_dislikes: int
    total_views: int
    last_active_at: dt.datetime
    created_at: dt.datetime | None
    rank: int
    creator_score: float = msgspec.field(name="creator_score")


async def top(request: web.Request) -> web.StreamResponse:
    """The best creators of all time."""
    parameters, parts = parse_query(request, TopQuery), services(request)
    found = await top_creators(parts.database, caller(request).organization, parameters.limit)
    read_at = None if found.current else found.read_at or found.as_of
    until = ALWAYS if found.current else services(request).now() + LOOK_AGAIN
    return fresh(
        json_answer([_shown(row) for row in found.creators]), found.as_of, request, read_at=read_at, until=until
    )


async def leaderboard(database: Database, organization: UUID, limit: int) -> tuple[list[TopCreator], dt.datetime]:
    """The best creators and how fresh that is, for who is told of every change.

    Waits a little for the refresh that holds what is committed now: nobody would be told again when it comes.
    """
    found = await top_creators(database, organization, limit)
    newest = found.newest
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CATCH_UP_S):
            while found.holds < newest:
                await asyncio.sleep(LOOK_AGAIN_S)
                found = await top_creators(database, organization, limit)
    return [_shown(row) for row in found.creators], found.as_of


def _shown(row: dict[str, Any]) -> TopCreator:
    return TopCreator(
        id=row["creator_id"],
        username=row["creator_id"],
        email=None,
        videos_created=row["videos"],
        total_likes=row["likes"],
        total_dislikes=row["dislikes"],
        total_views=row["views"],
        last_active_at=row["last_active_at"],
        created_at=None,
        rank=row["rank"],
        creator_score=round(row["score"], 6),
    )


ROUTES = [
    Route(
        "GET",
        "/users/top",
        top,
        "The creators' leaderboard",
        query=TopQuery,
        answer=list[TopCreator],
        tags=("leaderboards",),
        kinds=("view",),
        errors=(400,),
    ),
]
