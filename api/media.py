"""Which of the offered representations a request asks for."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from aiohttp import web

from api.errors import Problem

LONGEST = 512
"""Characters of an `Accept` that is kept in memory."""


def wants_csv(request: web.Request) -> bool:
    """Whether CSV is asked for. Raises Problem 406 for a type that is neither that nor JSON."""
    found = wanted(request.headers.get("Accept", "*/*"))
    if found is None:
        raise Problem(406, "Accept: application/json and text/csv are offered", parameter="Accept")
    return found == "csv"


def wanted(accept: str) -> Literal["csv", "json"] | None:
    """The first representation of an `Accept` that is offered; None where none is."""
    return _known(accept) if len(accept) <= LONGEST else _wanted(accept)


def _wanted(accept: str) -> Literal["csv", "json"] | None:
    for part in accept.lower().split(","):
        media = part.split(";")[0].strip()
        if media == "text/csv":
            return "csv"
        if media in ("application/json", "application/*", "*/*", "text/*", "text/html"):
            return "json"
    return None


_known = lru_cache(maxsize=256)(_wanted)
