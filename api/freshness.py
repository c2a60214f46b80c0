"""How fresh an answer is: the header `X-As-Of`, and an ETag that changes only with the data."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import TypeVar

from aiohttp import web

from api.services import services

COMPLETE = web.RequestKey("complete", dt.datetime)
"""What was accepted before that time is in an answer that is read from now on."""

_LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def receive(request: web.Request) -> None:
    """Notes, before anything is read, how complete the answer will be at the least.

    An event is accepted directly when it is committed: all that was accepted before the request is there. One that is accepted by
    Kafka is counted a little later: then the least fresh partition says how much is.
    """
    parts = services(request)
    complete = parts.now()
    if parts.log_status is not None:
        complete = min(complete, parts.log_status().fresh_until() or _LONG_AGO)
    request[COMPLETE] = complete


_Response = TypeVar("_Response", bound=web.Response)


def fresh(response: _Response, as_of: dt.datetime, request: web.Request) -> _Response:
    """Marks an answer that was read after the request came in.

    It holds all that was complete when the request came in; where the last commit in it is later, that is how fresh it is.
    """
    response.headers["X-As-Of"] = max(as_of, request[COMPLETE]).astimezone(dt.UTC).isoformat(timespec="milliseconds")
    body = response.body
    if isinstance(body, bytes):
        response.headers["ETag"] = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    response.headers["Cache-Control"] = "private, no-cache"
    return response
