"""What is noted of a request before anything is read for it: when it came in, and how complete its answer will be."""

from __future__ import annotations

import datetime as dt

from aiohttp import web

from api.freshness import COMPLETE, RECEIVED
from api.services import Services, services

_LONG_AGO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def complete(parts: Services) -> dt.datetime:
    """What was accepted before that time is in everything that is read from now on.

    An event is accepted directly when it is committed: all that was accepted before now is there. One that is accepted by
    Kafka is counted a little later: then the least fresh partition says how much is.
    """
    now = parts.now()
    return now if parts.log_status is None else min(now, parts.log_status().fresh_until() or _LONG_AGO)


def receive(request: web.Request) -> Services:
    """Notes both, and returns the parts."""
    parts = services(request)
    now = request[RECEIVED] = parts.now()
    request[COMPLETE] = now if parts.log_status is None else complete(parts)
    return parts
