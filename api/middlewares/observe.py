"""The outermost middleware: every answer gets its request id and its time, every failure becomes problem details."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from functools import partial

from aiohttp import web

from api.cache.answers import Settled
from api.cache.ready import Ready
from api.compression import compress_answer
from api.freshness import known
from api.headers import CONSTANT, DEFAULTS
from api.limits.rates import COUNTED_FOR
from api.middlewares.failures import RequestTooSlow, answer_to
from api.reception import receive
from api.routing import Handler
from api.services import services

_STARTED = web.RequestKey("started", float)
_REQUEST_ID = web.RequestKey("request_id", str)
_TIME = web.RequestKey("time", asyncio.Timeout)
_IDS = itertools.count(int.from_bytes(secrets.token_bytes(8)))
_GIVEN_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}").fullmatch


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers whatever happens. A request id that the caller sends is kept."""
    started = request[_STARTED] = time.perf_counter()
    parts = receive(request)
    given = request.headers.get("X-Request-ID")
    request_id = request[_REQUEST_ID] = given if given and _GIVEN_ID(given) else _new_id()
    edge = parts.edge
    if parts.cache is not None:
        quick = parts.cache.quick(request, parts.authenticator.clock_before, edge.rates.admits)
        if quick is not None:
            ready, principal = quick
            seconds = time.perf_counter() - started
            ready.mark(request_id, seconds, edge.rates.lines(principal) + edge.lines(request))
            parts.observation.request(request, ready.status, seconds)
            parts.requests.answer(request, ready, seconds)
            return ready
    try:
        response = edge.cors.preflight(request) or await _timely(request, handler, edge.request_s)
    except Exception as error:
        response = answer_to(error, request, request_id)
    if isinstance(response, web.Response) and not isinstance(response, Settled) and not response.prepared:
        _conditional(request, response)
        await compress_answer(request, response)
    seconds = time.perf_counter() - started
    if isinstance(response, Ready):
        limit = request[COUNTED_FOR].limit.lines(request[COUNTED_FOR].who) if COUNTED_FOR in request else ""
        response.mark(request_id, seconds, limit + edge.lines(request))
    parts.observation.request(request, response.status, seconds)
    parts.requests.answer(request, response, seconds)
    return response


def _new_id() -> str:
    """Another one each time, in every process: counted from a number drawn at the start."""
    return f"{next(_IDS) & 0xFFFF_FFFF_FFFF_FFFF:016x}"


async def _timely(request: web.Request, handler: Handler, seconds: float) -> web.StreamResponse:
    """What the handler answers. The head of the answer has to be there in time, counted from when the request was whole.

    A body has a time of its own (api.connections), and a stream may last. Raises RequestTooSlow.
    """
    body = request.content
    limit = asyncio.timeout(seconds if body.is_eof() else None)
    try:
        async with limit:
            request[_TIME] = limit
            if not body.is_eof():
                body.on_eof(partial(_begin, request, seconds))
            return await handler(request)
    except TimeoutError as error:
        if limit.expired():
            raise RequestTooSlow from error
        raise
    finally:
        request.pop(_TIME, None)


def _begin(request: web.Request, seconds: float) -> None:
    """The request is whole. Its answer may be under way already."""
    limit = request.get(_TIME)
    if limit is not None and not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time() + seconds)


def may_take(request: web.Request, seconds: float) -> None:
    """Gives the head of an answer so much time from now on: for what is made as a whole before it is sent."""
    limit = request.get(_TIME)
    if limit is not None and not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time() + seconds)


async def mark(request: web.Request, response: web.StreamResponse) -> None:
    """Writes on every head, a stream's too, which request it answers, how long that took (in seconds), and what browsers must know."""
    if isinstance(response, Ready):
        return  # it has all that
    time_limit = request.pop(_TIME, None)
    if time_limit is not None and not time_limit.expired():
        time_limit.reschedule(None)
    headers = response.headers
    if _STARTED in request:
        headers["X-Request-ID"] = request[_REQUEST_ID]
        headers["X-Process-Time"] = f"{time.perf_counter() - request[_STARTED]:.6f}"
    headers.update(CONSTANT)
    for name, value in DEFAULTS.items():
        headers.setdefault(name, value)
    if COUNTED_FOR in request and response.status != 429:
        headers.update(request[COUNTED_FOR].limit.headers(request[COUNTED_FOR].who))
    for name, value in services(request).edge.headers(request).items():
        if name == "Vary" and (vary := headers.get("Vary")):
            headers["Vary"] = f"{vary}, {value}"
        else:
            headers[name] = value


def _conditional(request: web.Request, response: web.Response) -> None:
    """Turns an answer that the caller already has into 304, which keeps its freshness."""
    tag = response.headers.get("ETag")
    if request.method == "GET" and response.status == 200 and tag and known(request.headers.get("If-None-Match"), tag):
        response.set_status(304)
        response.body = None
