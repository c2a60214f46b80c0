"""How fresh an answer is: the header `X-As-Of`, an ETag that changes only with the data, and how long it holds."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from aggregators import calendar

RECEIVED = web.RequestKey("received", dt.datetime)
"""When the request came in, on the service's clock."""
COMPLETE = web.RequestKey("complete", dt.datetime)
"""What was accepted before that time is in an answer that is read from now on."""

ALWAYS = dt.datetime.max.replace(tzinfo=dt.UTC)
"""Until when an answer holds that changes by commits only."""
SOON = dt.timedelta(seconds=1)
"""How long an answer holds that does not say more about its window."""

_TAGS = re.compile(r'"[^"]*"')


@dataclass(frozen=True, slots=True)
class Freshness:
    """What an answer says of itself to whoever keeps it.

    `as_of`: all that was accepted before is in it. `moves`: that time goes on while no commit comes; not so with what is refreshed
    from time to time. `until`: when it may be another one although no commit came.
    """

    as_of: dt.datetime
    moves: bool
    until: dt.datetime


FRESHNESS = web.RequestKey("freshness", Freshness)


def stamp(moment: dt.datetime) -> str:
    """A time as it stands in `X-As-Of`."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds")


def same_minute(now: dt.datetime) -> dt.datetime:
    """Until when a window that follows the clock by whole minutes or more stays where it is."""
    return calendar.ceil(now, "1m", calendar.zone("UTC"))


def known(header: str | None, tag: str) -> bool:
    """Whether an `If-None-Match` names the answer with this ETag, whatever its coding (RFC 9110, section 13.1.2)."""
    return header is not None and (header.strip() == "*" or tag.removeprefix("W/") in _TAGS.findall(header))


_Response = TypeVar("_Response", bound=web.Response)


def fresh(
    response: _Response,
    as_of: dt.datetime,
    request: web.Request,
    *,
    read_at: dt.datetime | None = None,
    until: dt.datetime | None = None,
) -> _Response:
    """Marks an answer that was read after the request came in.

    It holds all that was complete when the request came in; where the last commit in it is later, that is how fresh it is. `read_at`:
    the answer holds only what was accepted before then, because it comes from something that is refreshed from time to time.
    `until`: when it may become another one without a commit, because its window moves on; ALWAYS where it has none. Without it
    the answer is kept for a second at most.
    """
    bound = request[COMPLETE] if read_at is None else min(read_at, request[COMPLETE])
    shown = max(as_of, bound)
    response.headers["X-As-Of"] = stamp(shown)
    body = response.body
    if isinstance(body, bytes):
        response.headers["ETag"] = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    response.headers["Cache-Control"] = "private, no-cache"
    request[FRESHNESS] = Freshness(shown, read_at is None, request[RECEIVED] + SOON if until is None else until)
    return response
