"""`/cache/metrics`: how often answers came from memory. `/cache/invalidate`: forgets them. No organization's data is in either."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import msgspec
from aiohttp import web

from api.auth.principal import caller
from api.errors import Problem
from api.health import admit_operations
from api.routing import Route, json_answer
from api.services import Services, services


class MemoryFigures(msgspec.Struct):
    """This process's memory. `hit_rate` is in per cent of all look-ups, null before the first."""

    hits: int
    misses: int
    hit_rate: float | None
    entries: int
    bytes: int
    evictions: int


class RedisFigures(msgspec.Struct):
    """This process's use of Redis, asked where memory had no answer. `available`: it is asked now; it rests after an error."""

    hits: int
    misses: int
    hit_rate: float | None
    errors: int
    available: bool


class OverallFigures(msgspec.Struct):
    """Both levels together: a miss was read from the database."""

    hits: int
    misses: int
    hit_rate: float | None


class CacheMetrics(msgspec.Struct):
    """What the cache of this process did since it started. `as_of`: all that was accepted before is in what it answers."""

    memory: MemoryFigures
    redis: RedisFigures | None
    overall: OverallFigures
    invalidations: int
    as_of: dt.datetime


Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Invalidation(msgspec.Struct, forbid_unknown_fields=True):
    """What to forget: answers of paths that fit `pattern`, in which `*` stands for anything; without one, all.

    `everybody`: of all organizations, for the deployment's admin.
    """

    pattern: Pattern | None = None
    everybody: bool = False


class Invalidated(msgspec.Struct):
    """How many answers were forgotten."""

    invalidated: int


def cache_metrics(parts: Services) -> CacheMetrics:
    """The figures of now; all zero where no answers are kept."""
    cache = parts.cache
    if cache is None:
        none = OverallFigures(0, 0, None)
        return CacheMetrics(MemoryFigures(0, 0, None, 0, 0, 0), None, none, 0, parts.now())
    second, memory = cache.second, cache.memory
    found = 0 if second is None else second.hits
    return CacheMetrics(
        MemoryFigures(
            cache.hits,
            cache.misses + found,
            _rate(cache.hits, cache.misses + found),
            len(memory),
            memory.bytes,
            memory.evictions,
        ),
        None
        if second is None
        else RedisFigures(
            second.hits, second.misses, _rate(second.hits, second.misses), second.errors, second.available
        ),
        OverallFigures(cache.hits + found, cache.misses, cache.hit_rate()),
        memory.invalidations,
        cache.confirmed,
    )


def _rate(hits: int, misses: int) -> float | None:
    return round(100 * hits / (hits + misses), 2) if hits + misses else None


async def show_cache(request: web.Request) -> web.StreamResponse:
    """Hits, misses and size of the response cache."""
    admit_operations(request)
    return json_answer(cache_metrics(services(request)), headers={"Cache-Control": "no-cache"})


async def invalidate(request: web.Request) -> web.StreamResponse:
    """Forgets answers of the caller's organization. Nothing needs it: commits do. It is for what is no event, and for doubt."""
    principal = caller(request)
    if principal.role == "member":
        raise Problem(403, "an owner, an admin or an API key may do this")
    asked = await _asked(request)
    if asked.everybody and principal.role != "admin":
        raise Problem(403, "everybody: only the deployment's admin may do this", parameter="everybody")
    cache = services(request).cache
    dropped = 0
    if cache is not None:
        dropped = await cache.drop(None if asked.everybody else principal.organization, asked.pattern or "*")
    return json_answer(Invalidated(dropped))


async def _asked(request: web.Request) -> Invalidation:
    """The body; `?pattern=` says the same. Without either everything is meant."""
    body = await request.read()
    try:
        asked = msgspec.json.decode(body, type=Invalidation) if body.strip() else Invalidation()
        pattern = msgspec.convert(request.query.get("pattern", asked.pattern), Pattern | None)
    except msgspec.ValidationError as error:
        raise Problem(400, f"body: {error}", parameter="body") from None
    except msgspec.DecodeError:
        raise Problem(400, "body: is no JSON", parameter="body") from None
    return Invalidation(pattern, asked.everybody)


ROUTES = [
    Route(
        "GET",
        "/cache/metrics",
        show_cache,
        "How often answers came from memory",
        scope=None,
        answer=CacheMetrics,
        tags=("operations",),
        errors=(401,),
    ),
    Route(
        "POST",
        "/cache/invalidate",
        invalidate,
        "Forget kept answers",
        scope="any",
        body=Invalidation,
        answer=Invalidated,
        tags=("operations",),
        errors=(400, 403),
    ),
]
