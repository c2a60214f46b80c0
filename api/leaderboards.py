"""The creators' leaderboard: by window at `GET /api/v1/leaderboards/creators`, and all-time as user profiles at `GET /users/top`."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.principal import caller
from api.errors import Problem
from api.freshness import ALWAYS, RECEIVED, fresh, same_minute
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage.database import Database
from storage.leaderboard import Board, Standings, standings

MAX_CREATORS = 500
CREATORS = 20
CATCH_UP_S = 10.0
LOOK_AGAIN_S = 0.2
LOOK_AGAIN = dt.timedelta(seconds=0.5)
"""How long a board that is behind is kept: it is refreshed without another commit."""


class TopQuery(msgspec.Struct):
    """How many."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_CREATORS)] = CREATORS


class LeaderboardQuery(TopQuery):
    """Which creators: `limit` of them behind the first `offset`, or those around one of them, in a window that ends now."""

    window: Board = "all"
    offset: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    around: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None


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


class RankedCreator(msgspec.Struct):
    """A creator's place, and what it is made of: all figures are of the window.

    `previous_rank` is null for `all`, and for who was not ranked in the window before. `likes` and `dislikes` are current reactions.
    """

    rank: int
    previous_rank: int | None
    creator_id: str
    username: str
    score: float
    views: int
    likes: int
    dislikes: int
    videos: int
    last_active_at: dt.datetime


class Leaderboard(msgspec.Struct):
    """Creators in the order of their rank. `as_of`: when the newest event in it was committed."""

    as_of: dt.datetime
    window: Board
    entries: list[RankedCreator]


async def top(request: web.Request) -> web.StreamResponse:
    """The best creators of all time."""
    parameters, parts = parse_query(request, TopQuery), services(request)
    found = await standings(parts.database, caller(request).organization, "all", limit=parameters.limit)
    return _marked(json_answer([_profile(row) for row in found.creators]), found, request)


async def creators(request: web.Request) -> web.StreamResponse:
    """A part of a board. Raises Problem 404 for `around` somebody who is not on it."""
    parameters, parts = parse_query(request, LeaderboardQuery), services(request)
    if parameters.around is not None and parameters.offset:
        raise Problem(400, "offset: cannot be asked together with around", parameter="offset")
    found = await standings(
        parts.database,
        caller(request).organization,
        parameters.window,
        limit=parameters.limit,
        offset=parameters.offset,
        around=parameters.around,
    )
    if parameters.around is not None:
        require_ranked(found)
    return _marked(json_answer(_board(found)), found, request)


def require_ranked(around: Standings) -> None:
    """Raises Problem 404 where those around a creator are none: nobody of the id that was asked for is on the board."""
    if not around.creators:
        raise Problem(404, f"around: nobody of that id is ranked in the window {around.board}", parameter="around")


async def leaderboard(
    database: Database, organization: UUID, window: Board, limit: int, around: str | None
) -> Leaderboard:
    """A part of a board, for who is told of every change.

    Waits a little for the refresh that holds what is committed now: nobody would be told again when it comes.
    """
    found = await standings(database, organization, window, limit=limit, around=around)
    newest = found.newest
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CATCH_UP_S):
            while found.holds < newest:
                await asyncio.sleep(LOOK_AGAIN_S)
                found = await standings(database, organization, window, limit=limit, around=around)
    return _board(found)


def _marked(response: web.Response, found: Standings, request: web.Request) -> web.Response:
    """The answer with how fresh it is: no fresher than the refresh, where events came or windows moved on since."""
    if not found.current_at(services(request).now()):
        until = request[RECEIVED] + LOOK_AGAIN
        return fresh(response, found.as_of, request, read_at=found.read_at or found.as_of, until=until)
    until = ALWAYS if found.board == "all" else same_minute(request[RECEIVED])
    return fresh(response, found.as_of, request, until=until)


def _board(found: Standings) -> Leaderboard:
    return Leaderboard(found.as_of, found.board, [_ranked(row) for row in found.creators])


def _ranked(row: dict[str, Any]) -> RankedCreator:
    return RankedCreator(**{**row, "score": float(row["score"])})


def _profile(row: dict[str, Any]) -> TopCreator:
    return TopCreator(
        id=row["creator_id"],
        username=row["username"],
        email=None,
        videos_created=row["videos"],
        total_likes=row["likes"],
        total_dislikes=row["dislikes"],
        total_views=row["views"],
        last_active_at=row["last_active_at"],
        created_at=None,
        rank=row["rank"],
        creator_score=float(row["score"]),
    )


ROUTES = [
    Route(
        "GET",
        "/api/v1/leaderboards/creators",
        creators,
        "The creators' leaderboard: of 24 hours, 7 days, 30 days or all time; from the top, or around one creator",
        query=LeaderboardQuery,
        answer=Leaderboard,
        tags=("leaderboards",),
        kinds=("view",),
        errors=(400, 404),
    ),
    Route(
        "GET",
        "/users/top",
        top,
        "The creators' leaderboard of all time, as user profiles",
        query=TopQuery,
        answer=list[TopCreator],
        tags=("leaderboards",),
        kinds=("view",),
        errors=(400,),
    ),
]
