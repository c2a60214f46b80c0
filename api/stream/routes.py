"""`GET /api/v1/stream`: rollups and leaderboards as they change (`mode=state`), or every event once (`mode=events`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

import msgspec
import structlog
from aiohttp import web

from aggregators.definitions import BY_NAME
from api.auth.principal import Principal, caller
from api.errors import Problem
from api.leaderboards import CREATORS, MAX_CREATORS, leaderboard, require_ranked
from api.questions import DEFAULT_LIMIT, QueryParameters, answer, parse, rollup_named
from api.routing import ENCODER, Route, described, parse_query
from api.services import Services, services
from api.stream.event_stream import EventStream
from api.stream.events_source import EventSource, Gone
from api.stream.readers import READERS, Reader, Readers
from api.stream.state_stream import StateStream
from api.visibility import narrowed, own_trades
from storage.database import QueryTooSlow, StorageUnavailable
from storage.feed import FeedEvent, watermark
from storage.leaderboard import Board, standings

log = structlog.get_logger(__name__)


class StreamQuery(QueryParameters, kw_only=True):
    """What to be pushed. `rollup` with the parameters of `/api/v1/query`, or `leaderboard=creators` with `window`, `around` and `limit`
    of `/api/v1/leaderboards/creators`, or `mode=events` with `type`.
    """

    rollup: Annotated[str, described(enum=tuple(BY_NAME))] | None = None  # type: ignore[assignment]
    mode: Literal["state", "events"] = "state"
    leaderboard: Literal["creators"] | None = None
    window: Board | None = None
    around: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    type: Literal["system", "enterprise", "trade", "view"] | None = None
    last_event_id: str | None = None
    ticket: str | None = None


class _Event(msgspec.Struct):
    """As much of an event as a filter looks at."""

    data: dict[str, Any]


_DATA = msgspec.json.Decoder(_Event)


class Push(Protocol):
    """What is told to one reader."""

    async def beat(self) -> None:
        """A sign of life."""

    async def run(self, reader: Reader) -> None:
        """Pushes until there is nothing more to tell, or nobody to be told. Raises Gone."""


async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events until the reader goes, its credential expires or the service stops."""
    parameters = parse_query(request, StreamQuery)
    parts = services(request)
    principal: Principal = caller(request)
    request.config_dict[READERS].require_room(principal)
    source = EventSource(request)
    push: Push
    if parameters.mode == "state":
        push = StateStream(source, parts.hub, principal.organization, *await _question(parameters, parts, principal))
    else:
        last = request.headers.get("Last-Event-ID") or parameters.last_event_id
        keep, name = event_filter(parameters, own_trades(principal))
        push = EventStream(source, parts, principal.organization, keep, name, last)
    await serve(source, push, request.config_dict[READERS], parts, principal, parameters.mode)
    return source.response


async def serve(
    source: EventSource,
    push: Push,
    readers: Readers,
    parts: Services,
    principal: Principal,
    mode: str,
) -> None:
    """Pushes until the stream ends, for whatever reason."""
    reader = Reader(principal, source.transport, sent=lambda: source.sent, beat=push.beat)
    gauge = parts.observation.streams.labels(mode)
    gauge.inc()
    try:
        with readers.reading(reader):
            await source.open()
            await push.run(reader)
    except Gone:
        log.debug("reader_gone", mode=mode)
    except (Problem, StorageUnavailable, QueryTooSlow) as error:
        # The head is sent, so no other answer is possible: the reader comes back and is told, or goes on where it was.
        log.warning("stream_ended", reason=str(error))
    except Exception:
        log.exception("stream_failed", mode=mode)
    finally:
        gauge.dec()


async def _question(
    parameters: StreamQuery, parts: Services, principal: Principal
) -> tuple[str, str, Callable[[], Awaitable[bytes]]]:
    """The kind of events that changes an answer, a name under which readers share it, and what to ask at every change."""
    organization = principal.organization
    if parameters.leaderboard:
        return await _board(parameters, parts, organization)
    _refuse(parameters, ("window", "around"), "belongs to leaderboard")
    if not parameters.rollup:
        raise Problem(400, "rollup: is missing; or ask for leaderboard=creators, or mode=events", parameter="rollup")
    _refuse(parameters, ("cursor",), "a stream has no pages")
    if parameters.source != "rollup":
        raise Problem(400, "source: a stream reads rollups only", parameter="source")
    _refuse(parameters, ("type",), "belongs to mode=events")
    event = rollup_named(parameters.rollup).event
    async with parts.database.read(organization) as connection:
        mark = await watermark(connection, event)
        zone = mark.time_zone
        question = narrowed(parse(parameters, now=parts.now(), default_zone=zone), principal)
        await answer(connection, question, mark, parameters.fill)  # tells a bad question before the stream opens

    async def read() -> bytes:
        # Parsed anew each time: `to` is by default now, and `now-15m` moves.
        current = narrowed(parse(parameters, now=parts.now(), default_zone=zone), principal)
        async with parts.hub.asking, parts.database.read(organization) as connection:
            mark = await watermark(connection, event)
            return ENCODER.encode(await answer(connection, current, mark, parameters.fill))

    # What readers have of their own, their ticket and their place, does not make another question.
    shared = msgspec.structs.replace(parameters, ticket=None, last_event_id=None)
    key = msgspec.json.encode([shared, zone, own_trades(principal)]).decode()
    return event, key, read


async def _board(
    parameters: StreamQuery, parts: Services, organization: UUID
) -> tuple[str, str, Callable[[], Awaitable[bytes]]]:
    """The question for a part of a leaderboard. Raises Problem 404 where `around` is not on it; when they leave it later, it is empty."""
    _refuse(parameters, (*_QUESTION, "filter", "tz", "from", "to"), "belongs to rollup")
    window, around = parameters.window or "all", parameters.around
    limit = CREATORS if parameters.limit == DEFAULT_LIMIT else parameters.limit
    if limit > MAX_CREATORS:
        raise Problem(400, f"limit: at most {MAX_CREATORS} creators are shown", parameter="limit")
    if around is not None:
        require_ranked(await standings(parts.database, organization, window, limit=1, around=around))

    async def read() -> bytes:
        return ENCODER.encode(await leaderboard(parts.database, organization, window, limit, around))

    return "view", msgspec.json.encode(["leaderboard", window, limit, around]).decode(), read


_QUESTION = ("rollup", "measures", "group_by", "grain", "fill", "cursor")


def _refuse(parameters: StreamQuery, names: Iterable[str], why: str) -> None:
    """Raises Problem 400 for the first of these parameters that is there, where it would be passed over in silence."""
    for name in names:
        if getattr(parameters, {"from": "from_"}.get(name, name)):
            raise Problem(400, f"{name}: {why}", parameter=name)


def event_filter(parameters: StreamQuery, own: tuple[str, ...] | None) -> tuple[Callable[[FeedEvent], bool], str]:
    """Which events are told, and a name for that. A filter `key:value[,value…]` holds fields of the event's data against texts.

    `own` has the names of the one user whose trades the reader may see; None where all of them are.
    """
    _refuse(parameters, (*_QUESTION, "leaderboard", "window", "around", "tz", "from", "to"), "belongs to mode=state")
    wanted: dict[str, set[str]] = {}
    for text in parameters.filter:
        key, colon, rest = text.partition(":")
        if not colon or not key:
            raise Problem(400, "filter: expected key:value[,value…]", parameter="filter")
        wanted[key] = {value.replace("\0", ",") for value in rest.replace("\\,", "\0").split(",")}
    kind = parameters.type

    def keep(event: FeedEvent) -> bool:
        if kind is not None and event.kind != kind:
            return False
        visible = own if event.kind == "trade" else None
        if not wanted and visible is None:
            return True
        data = _DATA.decode(event.event).data
        if visible is not None and data.get("user_id") not in visible:
            return False
        return all(str(data.get(key, "")) in values for key, values in wanted.items())

    return keep, repr((kind, own, sorted((key, sorted(values)) for key, values in wanted.items())))


ROUTES = [
    Route(
        "GET",
        "/api/v1/stream",
        stream,
        "Server-sent events: a rollup or a leaderboard as it changes, or every event",
        query=StreamQuery,
        media="text/event-stream",
        tags=("streams",),
        errors=(400,),
    ),
]
