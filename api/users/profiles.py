"""`GET` and `PATCH /users/{id}`: the video feed's user profiles, with what somebody's videos came to."""

from __future__ import annotations

import datetime as dt

import msgspec
from aiohttp import web

from api.auth.principal import Principal, caller
from api.entered import read_json
from api.errors import Problem
from api.freshness import fresh
from api.routing import Route, json_answer
from api.services import services
from api.shown_text import LONGEST_SUBJECT, LONGEST_URL, web_address_from
from api.username import LONGEST_USERNAME, username_from
from storage.profiles import Standing, UsernameTaken, change_profile, find_standing


class UserProfile(msgspec.Struct, rename="camel", kw_only=True):
    """A person or creator of the organization. `id` is what events call them, as far as is known: an issuer's subject, or the account's id.

    `email` is shown to its owner only. `username` is the id of who has no profile; then `createdAt` is null. Figures are of all time, and
    0 where nothing happened; `lastActiveAt` is the last thing they did here or that was done with their videos.
    """

    id: str
    username: str
    email: str | None
    avatar_url: str | None
    videos_created: int
    total_likes: int
    total_dislikes: int
    last_active_at: dt.datetime | None
    created_at: dt.datetime | None


class ProfileChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What is to be changed; the rest stays. `avatarUrl`: an http or https address, or null to take it away."""

    username: str | msgspec.UnsetType = msgspec.UNSET
    avatar_url: str | msgspec.UnsetType | None = msgspec.UNSET


async def get_user(request: web.Request) -> web.StreamResponse:
    """Anybody whom the organization knows: by a profile, or as the creator of videos that something was done with."""
    return await _shown(request, _id(request))


async def patch_user(request: web.Request) -> web.StreamResponse:
    """Changes one's own profile."""
    principal, id_ = caller(request), _id(request)
    if principal.account is None or id_ not in principal.user_ids:
        raise Problem(403, "only one's own profile can be changed")
    change = await read_json(request, ProfileChange)
    username = _username(change.username)
    avatar = None if change.avatar_url is msgspec.UNSET else change.avatar_url
    if avatar is not None and web_address_from(avatar) is None:
        raise Problem(
            422,
            f"avatarUrl: expected an http or https address of at most {LONGEST_URL} characters",
            parameter="avatarUrl",
        )
    parts = services(request)
    try:
        await change_profile(
            parts.database,
            principal.organization,
            principal.account,
            username=username,
            avatar_url=avatar,
            avatar_given=change.avatar_url is not msgspec.UNSET,
            now=parts.now(),
        )
    except UsernameTaken:
        raise Problem(409, "username: somebody else has it", parameter="username") from None
    return await _shown(request, id_)


def _id(request: web.Request) -> str:
    id_ = request.match_info["id"]
    if not id_.isprintable() or len(id_) > LONGEST_SUBJECT:
        raise _unknown()
    return id_


def _username(given: str | msgspec.UnsetType) -> str | None:
    if given is msgspec.UNSET:
        return None
    username = username_from(given)
    if username is None:
        raise Problem(
            422,
            f"username: expected 1 to {LONGEST_USERNAME} characters, none of them invisible",
            parameter="username",
        )
    return username


async def _shown(request: web.Request, id_: str) -> web.StreamResponse:
    parts, principal = services(request), caller(request)
    standing = await find_standing(parts.database, principal.organization, id_)
    profile = _profile(standing, id_, principal)
    if profile is None:
        raise _unknown()
    read_at = None if standing.current else standing.read_at or standing.as_of
    return fresh(json_answer(profile), standing.as_of, request, read_at=read_at)


def _profile(standing: Standing, id_: str, principal: Principal) -> UserProfile | None:
    own = id_ in principal.user_ids
    found, figures = standing.profile, standing.figures
    if found is None and figures is None and not own:
        return None
    times = [None if found is None else found.last_active_at, None if figures is None else figures.last_active_at]
    return UserProfile(
        id=id_ if found is None else next(iter(found.subjects), str(found.account)),
        username=id_ if found is None else found.username,
        email=principal.email if own else None,
        avatar_url=None if found is None else found.avatar_url,
        videos_created=0 if figures is None else figures.videos,
        total_likes=0 if figures is None else figures.likes,
        total_dislikes=0 if figures is None else figures.dislikes,
        last_active_at=max((time for time in times if time is not None), default=None),
        created_at=None if found is None else found.created_at,
    )


def _unknown() -> Problem:
    # The same words for a person of another organization and for nobody.
    return Problem(404, "nobody of this organization has this id")


ROUTES = [
    Route(
        "GET",
        "/users/{id}",
        get_user,
        "A user's profile and what their videos came to",
        answer=UserProfile,
        tags=("people",),
        errors=(404,),
    ),
    Route(
        "PATCH",
        "/users/{id}",
        patch_user,
        "Changes one's own username or avatar",
        scope="any",
        body=ProfileChange,
        answer=UserProfile,
        tags=("people",),
        errors=(400, 404, 409, 413, 415, 422),
    ),
]
