"""The outermost middleware: every answer gets its request id and its time, every failure becomes problem details."""

from __future__ import annotations

import itertools
import re
import secrets
import time

import structlog
from aiohttp import web

from api.cache.answers import Settled
from api.cache.ready import CONSTANT, Ready
from api.compression import compress_answer
from api.errors import TITLES, Problem
from api.freshness import known
from api.reception import receive
from api.routing import Handler
from storage.database import QueryTooSlow, StorageUnavailable
from storage.filled import NotFilled

log = structlog.get_logger(__name__)

_STARTED = web.RequestKey("started", float)
_REQUEST_ID = web.RequestKey("request_id", str)
_IDS = itertools.count(int.from_bytes(secrets.token_bytes(8)))
_GIVEN_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}").fullmatch


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers whatever happens. A request id that the caller sends is kept."""
    started = request[_STARTED] = time.perf_counter()
    parts = receive(request)
    given = request.headers.get("X-Request-ID")
    request_id = request[_REQUEST_ID] = given if given and _GIVEN_ID(given) else _new_id()
    quick = None if parts.cache is None else parts.cache.quick(request, parts.authenticator.clock_before)
    if quick is not None:
        seconds = time.perf_counter() - started
        quick.mark(request_id, seconds)
        parts.observation.request(request, quick.status, seconds)
        parts.requests.answer(request, quick, seconds)
        return quick
    try:
        response = await handler(request)
    except Problem as problem:
        response = problem.response(request.path)
    except web.HTTPException as error:
        response = _http(error, request.path)
    except NotFilled as error:
        response = Problem(503, str(error), headers={"Retry-After": "5"}).response(request.path)
    except StorageUnavailable as error:
        log.warning("storage_unavailable", request_id=request_id, path=request.path, reason=str(error))
        response = Problem(503, "the database cannot be reached now", headers={"Retry-After": "2"}).response(
            request.path
        )
    except QueryTooSlow:
        response = Problem(504, "the question took too long; ask for a shorter range or a coarser grain").response(
            request.path
        )
    except Exception:
        log.exception("request_failed", request_id=request_id, path=request.path)
        response = Problem(500, f"something went wrong here; the request id is {request_id}").response(request.path)
    if isinstance(response, web.Response) and not isinstance(response, Settled) and not response.prepared:
        _conditional(request, response)
        await compress_answer(request, response)
    seconds = time.perf_counter() - started
    if isinstance(response, Ready):
        response.mark(request_id, seconds)
    parts.observation.request(request, response.status, seconds)
    parts.requests.answer(request, response, seconds)
    return response


def _new_id() -> str:
    """Another one each time, in every process: counted from a number drawn at the start."""
    return f"{next(_IDS) & 0xFFFF_FFFF_FFFF_FFFF:016x}"


async def mark(request: web.Request, response: web.StreamResponse) -> None:
    """Writes on every head, a stream's too, which request it answers and how long that took (in seconds)."""
    if isinstance(response, Ready):
        return  # it has all that
    if _STARTED in request:
        response.headers["X-Request-ID"] = request[_REQUEST_ID]
        response.headers["X-Process-Time"] = f"{time.perf_counter() - request[_STARTED]:.6f}"
    response.headers.update(CONSTANT)


def _http(error: web.HTTPException, path: str) -> web.StreamResponse:
    """aiohttp's own refusals in our shape; a redirect is what it is."""
    if error.status < 400:
        raise error
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    details = {404: "there is nothing at this path", 405: "this path does not take that method"}
    detail = details.get(error.status, TITLES.get(error.status, error.reason or "refused"))
    return Problem(error.status, detail, headers=headers).response(path)


def _conditional(request: web.Request, response: web.Response) -> None:
    """Turns an answer that the caller already has into 304, which keeps its freshness."""
    tag = response.headers.get("ETag")
    if request.method == "GET" and response.status == 200 and tag and known(request.headers.get("If-None-Match"), tag):
        response.set_status(304)
        response.body = None
