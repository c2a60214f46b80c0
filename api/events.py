"""`POST /api/v1/events`: events in, and the place where a source that numbers its events finds where it was."""

from __future__ import annotations

import asyncio
import gzip
import io
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Literal
from uuid import UUID

import msgspec
import zstandard
from aiohttp import web

from api.auth.principal import caller
from api.errors import Problem
from api.routing import Route, json_answer, parse_query
from api.services import Services, services
from ingest.events import AnyEvent, Event
from ingest.events.bodies import MalformedBody, TooManyEvents
from ingest.events.decode import CONTENT_TYPES, Rejection, decode, refuse
from ingest.log import Batch, Packed, Unavailable
from ingest.reserved import reserved

_ZSTD_WINDOW = 8 * 1024 * 1024

_THREAD_ABOVE = 64 * 1024
"""Bodies larger than this are decoded in a thread, so that other requests go on."""


class Accepted(msgspec.Struct):
    """How many events were accepted, and why others were not."""

    accepted: int
    rejected: list[Rejection]


class SourceQuery(msgspec.Struct):
    """A source that numbers its events."""

    type: Literal["system", "enterprise", "trade", "view"]
    source: str


class SourceSequence(msgspec.Struct):
    """The highest sequence that was counted; null where none was."""

    sequence: int | None


async def accept(request: web.Request) -> web.StreamResponse:
    """Takes one event, a JSON array or NDJSON; answers when what it accepted is safe."""
    parts = services(request)
    content_type = request.content_type
    if content_type not in CONTENT_TYPES:
        raise Problem(415, f"Content-Type: {content_type} is not taken; known are {', '.join(sorted(CONTENT_TYPES))}")
    organization = caller(request).organization
    parts.edge.rates.before_events(organization)
    body = await _body(request, parts.max_body_bytes)
    try:
        if len(body) > _THREAD_ABOVE:
            work = partial(_take, parts, organization, body, content_type, packed=True)
            async with parts.decoding:
                taken = await asyncio.get_running_loop().run_in_executor(parts.computing, work)
            del work
        else:
            taken = _take(parts, organization, body, content_type, packed=False)
    except MalformedBody as error:
        raise Problem(400, str(error), parameter="body") from None
    except TooManyEvents as error:
        raise Problem(413, str(error)) from None
    del body
    parts.edge.rates.take_events(organization, taken.size)
    rejected = await _publish(parts, taken)
    accepted = taken.size - len(rejected)
    if accepted and parts.cache is not None and parts.log_status is None:
        # The events are committed. Whoever is told so, and asks, must find them.
        parts.cache.committed(organization, taken.kinds)
    for kind, number in taken.kinds.items():
        parts.observation.accepted.labels(kind).inc(number)
    parts.observation.rejected.labels("contract").inc(len(rejected))
    return json_answer(Accepted(accepted, rejected), status=422 if rejected and not accepted else 202)


@dataclass(frozen=True)
class _Taken:
    """What a request brought: how many events, how many good ones of each kind, the good ones' ids and places in it, the refusals."""

    size: int
    kinds: Counter[str]
    ids: list[str]
    indexes: list[int]
    rejected: list[Rejection]
    batch: Batch | Packed


def _take(parts: Services, organization: UUID, body: bytes, content_type: str, *, packed: bool) -> _Taken:
    """Decodes a body, holds its events against the organization's metric names and packs them. Nothing but columns is left of many."""
    decoded = decode(body, content_type, now=parts.now(), limits=parts.limits)
    decoded = refuse(decoded, reserved(decoded.events))
    decoded = refuse(decoded, parts.names.refusals(organization, decoded.events))
    types: Counter[type[Event]] = Counter(map(type, decoded.events))
    batch = Batch(organization, decoded.events)
    return _Taken(
        len(decoded.events) + len(decoded.rejected),
        Counter({one.kind: number for one, number in types.items()}),
        [event.id for event in decoded.events],
        decoded.indexes,
        decoded.rejected,
        parts.log.pack(batch) if packed and batch.events else batch,
    )


async def _publish(parts: Services, taken: _Taken) -> list[Rejection]:
    """Publishes the good events and returns every refusal, the database's among them, in the order of the request."""
    if not taken.ids:
        return taken.rejected
    try:
        refusals = await parts.log.publish(taken.batch)
    except Unavailable as error:
        raise Problem(503, error.reason, headers={"Retry-After": str(max(1, round(error.retry_after)))}) from None
    refused = [
        Rejection(taken.indexes[refusal.position], taken.ids[refusal.position], refusal.error) for refusal in refusals
    ]
    return sorted(taken.rejected + refused, key=lambda rejection: rejection.index)


async def _body(request: web.Request, limit: int) -> bytes:
    """The body, decompressed; both the sent and the decompressed size are bounded."""
    if (request.content_length or 0) > limit:
        raise Problem(413, f"body: at most {limit} bytes are taken")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise Problem(413, f"body: at most {limit} bytes are taken")
        chunks.append(chunk)
    body = b"".join(chunks)
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "zstd"):
        raise Problem(415, f"Content-Encoding: {encoding[:32]} is not taken; known are gzip and zstd")
    return await asyncio.to_thread(_inflate, body, encoding, limit)


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Decompresses no further than the limit, however much a bomb promises."""
    try:
        if encoding == "zstd":
            inflated = _zstd(body, limit)
        else:
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as reader:
                inflated = reader.read(limit + 1)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError):
        raise Problem(400, f"body: is not valid {encoding}", parameter="body") from None
    if len(inflated) > limit:
        raise Problem(413, f"body: at most {limit} bytes are taken, decompressed")
    return inflated


def _zstd(body: bytes, limit: int) -> bytes:
    """Inflates zstd frames to at most a little more than `limit`; a frame that is cut off raises, as the stream reader would not.

    The window is bounded as RFC 9659 has it for HTTP. A kilobyte inflates to 32 MB at most, so small steps keep a bomb small.
    """
    parts: list[bytes] = []
    size, at = 0, 0
    frame = None
    while at < len(body) and size <= limit:
        frame = frame or zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        step = body[at : at + 1024]
        parts.append(frame.decompress(step))
        size += len(parts[-1])
        at += len(step) - len(frame.unused_data)
        if frame.eof:
            frame = None
    if frame is not None and size <= limit:
        raise EOFError("the last frame is not whole")
    return b"".join(parts)


async def sequence(request: web.Request) -> web.StreamResponse:
    """Where a source that numbers its events was, so that it can go on from there."""
    parameters = parse_query(request, SourceQuery)
    rows = await services(request).database.rows(
        caller(request).organization,
        "select sequence from app.source_sequence where kind = %s and source = %s",
        (parameters.type, parameters.source),
    )
    return json_answer(SourceSequence(rows[0]["sequence"] if rows else None))


ROUTES = [
    Route(
        "POST",
        "/api/v1/events",
        accept,
        "Send events",
        scope="events:write",
        body=AnyEvent | list[AnyEvent],
        answer=Accepted,
        status=202,
        tags=("events",),
        errors=(400, 408, 413, 415, 422, 503),
        also={422: {"application/json": Accepted}},
        takes=tuple(sorted(CONTENT_TYPES)),
    ),
    Route(
        "GET",
        "/api/v1/events/sequence",
        sequence,
        "The highest sequence counted of a source",
        scope="events:write",
        query=SourceQuery,
        answer=SourceSequence,
        tags=("events",),
        errors=(400,),
    ),
]
