"""The answer to a request that failed, whatever it was that failed."""

from __future__ import annotations

import structlog
from aiohttp import web

from api.connections import BodyTooSlow
from api.errors import TITLES, Problem
from storage.archive import ArchiveUnavailable
from storage.database import QueryTooSlow, StorageUnavailable
from storage.filled import NotFilled

log = structlog.get_logger(__name__)


class RequestTooSlow(Exception):
    """The head of the answer was not there in time."""


def answer_to(error: Exception, request: web.Request, request_id: str) -> web.StreamResponse:
    """Raises a redirect again, which is an answer."""
    return _problem(error, request, request_id).response(request.path)


def _problem(error: Exception, request: web.Request, request_id: str) -> Problem:
    match error:
        case Problem():
            return error
        case web.HTTPException():
            return _http(error)
        case NotFilled():
            return Problem(503, str(error), headers={"Retry-After": "5"})
        case ArchiveUnavailable():
            log.error("archive_unavailable", request_id=request_id, path=request.path, reason=str(error))
            return Problem(503, str(error), headers={"Retry-After": "60"})
        case StorageUnavailable():
            log.warning("storage_unavailable", request_id=request_id, path=request.path, reason=str(error))
            return Problem(503, "the database cannot be reached now", headers={"Retry-After": "2"})
        case QueryTooSlow():
            return Problem(504, "the question took too long; ask for a shorter range or a coarser grain")
        case RequestTooSlow():
            log.warning("request_too_slow", request_id=request_id, path=request.path)
            return Problem(504, "the answer took too long")
        case BodyTooSlow():
            return Problem(408, "the body did not come in time", headers={"Connection": "close"})
    log.error("request_failed", request_id=request_id, path=request.path, exc_info=error)
    return Problem(500, f"something went wrong here; the request id is {request_id}")


def _http(error: web.HTTPException) -> Problem:
    """aiohttp's own refusals in our shape; a redirect is what it is."""
    if error.status < 400:
        raise error
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    details = {404: "there is nothing at this path", 405: "this path does not take that method"}
    return Problem(error.status, details.get(error.status, TITLES.get(error.status, "refused")), headers=headers)
