"""`GET /api/v1/stream`: rollups and leaderboards as they change (`mode=state`), or every event once (`mode=events`)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
from aiohttp import web

from api import organizations
from api.auth.principal import Principal, caller
from api.errors import Problem
from api.leaderboards import leaderboard
from api.questions import QueryParameters, answer, parse
from api.routing import ENCODER, Route, parse_query
from api.services import Services, services
from api.stream.events_source import HEARTBEAT_S, EventSource, Gone, frame
from api.stream.hub import END, Cursor
from storage.feed import FeedEvent

_CHUNK = 500


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


async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events until the reader goes, its credential expires or the service stops."""
    parameters = parse_query(request, StreamQuery)
    parts = services(request)
    principal: Principal = caller(request)
    if parameters.mode == "state":
        ask, kind, key = await _question(parameters, parts, principal)
        source = EventSource(request)
        work = _push_state(source, parts, principal, ask, kind, key)
    else:
        keep = _event_filter(parameters)
        source = EventSource(request)
        work = _push_events(
            source, parts, principal, keep, request.headers.get("Last-Event-ID") or parameters.last_event_id
        )
    gauge = parts.observation.streams.labels(parameters.mode)
    gauge.inc()
    try:
        response = await source.open()
        await asyncio.wait_for(work, _seconds_left(principal, parts.now()))
        return response
    except (Gone, TimeoutError):
        return source.response
    finally:
        work.close()
        gauge.dec()


def _seconds_left(principal: Principal, now: dt.datetime) -> float | None:
    """How long the credential is good for; None for one without an end."""
    return max(0.0, (principal.expires_at - now).total_seconds()) if principal.expires_at else None


async def _question(
    parameters: StreamQuery, parts: Services, principal: Principal
) -> tuple[Callable[[], Awaitable[bytes]], str, str]:
    """What to ask at every change, the kind of events that changes it, and a name under which readers share the answer."""
    organization = principal.organization
    if parameters.leaderboard:
        limit = parameters.limit if parameters.limit <= 500 else 20

        async def top() -> bytes:
            creators, as_of = await leaderboard(parts.database, organization, limit)
            return ENCODER.encode({"as_of": as_of, "leaderboard": "creators", "entries": creators})

        return top, "view", f"leaderboard {limit}"
    if not parameters.rollup:
        raise Problem(400, "rollup: is missing; or ask for leaderboard=creators, or mode=events", parameter="rollup")
    if parameters.cursor:
        raise Problem(400, "cursor: a stream has no pages", parameter="cursor")
    zone = await organizations.time_zone(parts.database, organization)
    question = parse(parameters, now=parts.now(), default_zone=zone)
    async with parts.database.read(organization) as connection:
        await answer(connection, question, parameters.fill)  # tells a bad question before the stream opens

    async def read() -> bytes:
        # Parsed anew each time: `to` is by default now, and `now-15m` moves.
        current = parse(parameters, now=parts.now(), default_zone=zone)
        async with parts.database.read(organization) as connection:
            return ENCODER.encode(await answer(connection, current, parameters.fill))

    key = msgspec.json.encode(parameters).decode() + zone
    return read, question.rollup.event, key


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


def _event_filter(parameters: StreamQuery) -> Callable[[FeedEvent], bool]:
    """Which events are told. A filter `key:value[,value…]` holds fields of the event's data against texts."""
    for name in ("rollup", "leaderboard", "measures", "group_by", "grain", "fill", "cursor"):
        if getattr(parameters, name):
            raise Problem(400, f"{name}: belongs to mode=state", parameter=name)
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
        if not wanted:
            return True
        data: dict[str, Any] = msgspec.json.decode(event.event)["data"]
        return all(str(data.get(key)) in values for key, values in wanted.items())

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
        cursor, live = (hub.position, END), True
        if last_event_id:
            asked = decode_cursor(last_event_id)
            if asked is not None and await hub.kept(organization, asked):
                cursor, live = asked, False
            else:
                await _reset(source, parts, "cursor too old" if asked else "cursor unknown", cursor)
        while not hub.closing.is_set():
            if live and cursor < tail.start:
                cursor = (hub.position, END)
                await _reset(source, parts, "reader too slow", cursor)
            found = await tail.after(cursor, _CHUNK)
            live = live or cursor >= tail.start
            if not found:
                if not await tail.wait(HEARTBEAT_S):
                    await source.heartbeat()
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
