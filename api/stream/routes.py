"""`GET /api/v1/stream`: rollups and leaderboards as they change (`mode=state`), or every event once (`mode=events`)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Literal

import msgspec
import structlog
from aiohttp import web

from api.auth.principal import Principal, caller
from api.errors import Problem
from api.leaderboards import MAX_CREATORS, leaderboard
from api.questions import DEFAULT_LIMIT, QueryParameters, answer, parse, rollup_named
from api.routing import ENCODER, Route, parse_query
from api.services import Services, services
from api.stream.events_source import HEARTBEAT_S, EventSource, Gone, frame
from api.stream.hub import END, Cursor
from api.visibility import narrowed, own_trades
from storage.database import QueryTooSlow, StorageUnavailable
from storage.feed import FeedEvent, watermark

log = structlog.get_logger(__name__)

_CHUNK = 500
_CREDENTIAL_S = 1.0
"""How often a stream's credential is looked at again."""


class StreamQuery(QueryParameters, kw_only=True):
    """What to be pushed. `rollup` with the parameters of `/api/v1/query`, or `leaderboard=creators`, or `mode=events` with `type`."""

    rollup: str | None = None  # type: ignore[assignment]
    mode: Literal["state", "events"] = "state"
    leaderboard: Literal["creators"] | None = None
    type: Literal["system", "enterprise", "trade", "view"] | None = None
    last_event_id: str | None = None
    ticket: str | None = None


class Reset(msgspec.Struct):
    """The stream could not go on where the reader was: what it holds must be read again."""

    reason: str
    as_of: dt.datetime


class _Event(msgspec.Struct):
    """As much of an event as a filter looks at."""

    data: dict[str, Any]


_DATA = msgspec.json.Decoder(_Event)


async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events until the reader goes, its credential expires or the service stops."""
    parameters = parse_query(request, StreamQuery)
    parts = services(request)
    principal: Principal = caller(request)
    source = EventSource(request)
    if parameters.mode == "state":
        ask, kind, key = await _question(parameters, parts, principal)
        work = _push_state(source, parts, principal, ask, kind, key)
    else:
        keep = event_filter(parameters, own_trades(principal))
        last = request.headers.get("Last-Event-ID") or parameters.last_event_id
        work = _push_events(source, parts, principal, keep, last)
    gauge = parts.observation.streams.labels(parameters.mode)
    gauge.inc()
    try:
        await source.open()
        await _while_let_in(work, parts, principal)
    except Gone:
        log.debug("reader_gone", mode=parameters.mode)
    except (Problem, StorageUnavailable, QueryTooSlow) as error:
        # The head is sent, so no other answer is possible: the reader comes back and is told, or goes on where it was.
        log.warning("stream_ended", reason=str(error))
    except Exception:
        log.exception("stream_failed", mode=parameters.mode)
    finally:
        work.close()
        gauge.dec()
    return source.response


async def _while_let_in(work: Coroutine[Any, Any, None], parts: Services, principal: Principal) -> None:
    """Does the work until it ends or the credential does: by its time, or because it was taken back."""
    pushing = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({pushing}, timeout=_CREDENTIAL_S))[0]:
            try:
                if not await parts.authenticator.holds(principal):
                    return
            except StorageUnavailable as error:
                # Nothing can be read now, so nothing is told that should not be; it is looked at again in a second.
                log.warning("credential_not_checked", reason=str(error))
        await pushing
    finally:
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)


async def _question(
    parameters: StreamQuery, parts: Services, principal: Principal
) -> tuple[Callable[[], Awaitable[bytes]], str, str]:
    """What to ask at every change, the kind of events that changes it, and a name under which readers share the answer."""
    organization = principal.organization
    if parameters.leaderboard:
        _refuse(parameters, (*_QUESTION, "filter", "tz", "from", "to"), "belongs to rollup")
        limit = 20 if parameters.limit == DEFAULT_LIMIT else parameters.limit
        if limit > MAX_CREATORS:
            raise Problem(400, f"limit: at most {MAX_CREATORS} creators are shown", parameter="limit")

        async def top() -> bytes:
            creators, as_of = await leaderboard(parts.database, organization, limit)
            return ENCODER.encode({"as_of": as_of, "leaderboard": "creators", "entries": creators})

        return top, "view", f"leaderboard {limit}"
    if not parameters.rollup:
        raise Problem(400, "rollup: is missing; or ask for leaderboard=creators, or mode=events", parameter="rollup")
    _refuse(parameters, ("cursor",), "a stream has no pages")
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
        async with parts.database.read(organization) as connection:
            mark = await watermark(connection, event)
            return ENCODER.encode(await answer(connection, current, mark, parameters.fill))

    # What readers have of their own, their ticket and their place, does not make another question.
    shared = msgspec.structs.replace(parameters, ticket=None, last_event_id=None)
    key = msgspec.json.encode([shared, zone, own_trades(principal)]).decode()
    return read, event, key


async def _push_state(
    source: EventSource,
    parts: Services,
    principal: Principal,
    ask: Callable[[], Awaitable[bytes]],
    kind: str,
    key: str,
) -> None:
    topic = parts.hub.join_topic(principal.organization, kind, key, ask)
    try:
        version = 0
        while not parts.hub.closing.is_set():
            await topic.wait(version, HEARTBEAT_S)
            if topic.version == version:
                if not parts.hub.closing.is_set():
                    # The window may have moved on, although nothing new came: a host that fell silent must leave it.
                    topic.change()
                    await source.heartbeat()
                continue
            # A slow reader gets the newest answer, not every one between: that is what conflation means.
            version, body = topic.version, topic.body
            if topic.error is not None:
                raise topic.error
            if body is not None:
                await source.send("state", body, encode_cursor((parts.hub.position, END)))
    finally:
        parts.hub.leave_topic(principal.organization, kind, key)


_QUESTION = ("rollup", "measures", "group_by", "grain", "fill", "cursor")


def _refuse(parameters: StreamQuery, names: Iterable[str], why: str) -> None:
    """Raises Problem 400 for the first of these parameters that is there, where it would be passed over in silence."""
    for name in names:
        if getattr(parameters, {"from": "from_"}.get(name, name)):
            raise Problem(400, f"{name}: {why}", parameter=name)


def event_filter(parameters: StreamQuery, own: tuple[str, ...] | None) -> Callable[[FeedEvent], bool]:
    """Which events are told. A filter `key:value[,value…]` holds fields of the event's data against texts.

    `own` has the names of the one user whose trades the reader may see; None where all of them are.
    """
    _refuse(parameters, (*_QUESTION, "leaderboard", "tz", "from", "to"), "belongs to mode=state")
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

    return keep


async def _push_events(
    source: EventSource,
    parts: Services,
    principal: Principal,
    keep: Callable[[FeedEvent], bool],
    last_event_id: str | None,
) -> None:
    hub, organization = parts.hub, principal.organization
    tail = hub.join_tail(organization)
    try:
        cursor, live = max((hub.position, END), tail.end), True
        if last_event_id:
            asked = decode_cursor(last_event_id)
            lost = "cursor unknown" if asked is None else await hub.lost(asked)
            if asked is not None and lost is None:
                cursor, live = asked, False
            else:
                await _reset(source, parts, lost or "cursor unknown", cursor)
        else:
            await source.place(encode_cursor(cursor))
        while not hub.closing.is_set():
            if live and cursor < tail.start:
                cursor = max((hub.position, END), tail.end)
                await _reset(source, parts, "reader too slow", cursor)
            wakes, heard = tail.wakes, hub.position
            found = await tail.after(cursor, _CHUNK)
            live = live or cursor >= tail.start
            if not found:
                # Up to the last commit heard of before looking there is nothing for this reader: that is where it is now.
                cursor = max(cursor, (heard, END))
                if not await tail.wait(wakes, HEARTBEAT_S):
                    await source.place(encode_cursor(cursor))
                continue
            cursor = (found[-1].position, found[-1].item)
            told = [event for event in found if keep(event)]
            if told:
                frames = [frame("event", event.event, encode_cursor((event.position, event.item))) for event in told]
                await source.send_raw(b"".join(frames))
    finally:
        hub.leave_tail(organization)


async def _reset(source: EventSource, parts: Services, reason: str, cursor: Cursor) -> None:
    parts.observation.resets.labels(reason).inc()
    await source.send("reset", ENCODER.encode(Reset(reason, parts.now())), encode_cursor(cursor))


def encode_cursor(cursor: Cursor) -> str:
    """An opaque event id."""
    return base64.urlsafe_b64encode(f"{cursor[0]}.{cursor[1]}".encode()).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor | None:
    """The place that an event id stands for; None for an id that this service never gave."""
    try:
        position, _, item = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).decode().partition(".")
        cursor = (int(position), int(item))
    except (ValueError, binascii.Error):
        return None
    return cursor if 0 <= cursor[0] < 2**62 and -1 <= cursor[1] <= END else None


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
