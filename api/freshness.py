"""How fresh an answer is: the header `X-As-Of`, and an ETag that changes only with the data."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import TypeVar

from aiohttp import web

RECEIVED = web.RequestKey("received", dt.datetime)
"""When the request came in."""

_Response = TypeVar("_Response", bound=web.Response)


def fresh(
    response: _Response, as_of: dt.datetime, request: web.Request, *, read_at: dt.datetime | None = None
) -> _Response:
    """Marks an answer that was read after the request came in.

    An event is accepted when it is committed, so the answer holds all that was accepted before the request: its time, or
    that of the last commit in the answer where that is later, is how fresh it is. `read_at`: the answer holds only what was accepted
    before then, because it comes from something that is refreshed from time to time.
    """
    complete = request[RECEIVED] if read_at is None else min(read_at, request[RECEIVED])
    response.headers["X-As-Of"] = max(as_of, complete).astimezone(dt.UTC).isoformat(timespec="milliseconds")
    body = response.body
    if isinstance(body, bytes):
        response.headers["ETag"] = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    response.headers["Cache-Control"] = "private, no-cache"
    return response
