"""The outermost middleware: every answer gets its request id and its time, every failure becomes problem details."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from aiohttp import web

from api.errors import TITLES, Problem
from api.freshness import receive
from api.routing import Handler
from api.services import services
from storage.database import QueryTooSlow, StorageUnavailable
from storage.filled import NotFilled

log = structlog.get_logger(__name__)

_STARTED = web.RequestKey("started", float)
_REQUEST_ID = web.RequestKey("request_id", str)
_GIVEN_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}").fullmatch


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers whatever happens. A request id that the caller sends is kept."""
    started = request[_STARTED] = time.perf_counter()
    receive(request)
    given = request.headers.get("X-Request-ID", "")
    request_id = request[_REQUEST_ID] = given if _GIVEN_ID(given) else secrets.token_hex(8)
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
    if not response.prepared:
        _conditional(request, response)
    services(request).observation.request(request, response.status, time.perf_counter() - started)
    return response


async def mark(request: web.Request, response: web.StreamResponse) -> None:
    """Writes on every head, a stream's too, which request it answers and how long that took (in seconds)."""
    if _STARTED in request:
        response.headers["X-Request-ID"] = request[_REQUEST_ID]
        response.headers["X-Process-Time"] = f"{time.perf_counter() - request[_STARTED]:.6f}"
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    # aiohttp would name itself, Python and both versions.
    response.headers["Server"] = "streamgauge"


def _http(error: web.HTTPException, path: str) -> web.StreamResponse:
    """aiohttp's own refusals in our shape; a redirect is what it is."""
    if error.status < 400:
        raise error
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    details = {404: "there is nothing at this path", 405: "this path does not take that method"}
    detail = details.get(error.status, TITLES.get(error.status, error.reason or "refused"))
    return Problem(error.status, detail, headers=headers).response(path)


def _conditional(request: web.Request, response: web.StreamResponse) -> None:
    """Turns an answer that the caller already has into 304, which keeps its freshness."""
    tag = response.headers.get("ETag")
    known = [part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")]
    if (
        request.method == "GET"
        and response.status == 200
        and tag
        and (tag in known or "*" in known)
        and isinstance(response, web.Response)
    ):
        response.set_status(304)
        response.body = None
