"""Which other sites' pages may read answers (CORS): exactly those that are named, with their visitors' credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiohttp import web

TAKEN_HEADERS = (
    "Accept",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "If-None-Match",
    "Last-Event-ID",
    "X-API-Key",
    "X-Organization-ID",
    "X-Request-ID",
)
"""What a page of such a site may send."""
SHOWN_HEADERS = (
    "ETag",
    "Location",
    "RateLimit-Limit",
    "RateLimit-Policy",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "WWW-Authenticate",
    "X-As-Of",
    "X-Next-Cursor",
    "X-Process-Time",
    "X-Request-ID",
)
"""What it may see of an answer's head, besides what everybody may."""
PREFLIGHT_S = 600
"""For how long a browser need not ask again."""

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?")
_KNOWN = frozenset(name.lower() for name in TAKEN_HEADERS)


class Cors:
    """The origins that are let in. Without one nothing is said of CORS at all, and browsers keep answers from other sites."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        """Raises ValueError for what is no origin as browsers write it: scheme, host and port, and no path. `*` is none."""
        self.origins = frozenset(origins)
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin[:100]}: expected an origin such as https://app.example.com")
        # Caches have to know that another origin, or none, gets another head.
        self._others = {"Vary": "Origin"} if self.origins else {}
        self._shown = {origin: _headers(origin) for origin in self.origins}
        self._lines = {origin: _lines(headers) for origin, headers in self._shown.items()}
        self._other_lines = _lines(self._others)

    def headers(self, request: web.Request) -> dict[str, str]:
        """What an answer to it says."""
        return self._shown.get(request.headers.get("Origin", ""), self._others) if self.origins else self._others

    def lines(self, request: web.Request) -> str:
        """The same, as lines of a head."""
        return self._lines.get(request.headers.get("Origin", ""), self._other_lines) if self.origins else ""

    def trusts(self, origin: str | None) -> bool:
        """Whether a page of that origin is one of ours."""
        return origin in self.origins

    def preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a browser that asks what a page may send (its other headers are on every answer); None for anything else."""
        wanted = request.headers.get("Access-Control-Request-Method")
        refusal = request.match_info.http_exception
        if (
            request.method != "OPTIONS"
            or wanted is None
            or not self.trusts(request.headers.get("Origin"))
            or not isinstance(refusal, web.HTTPMethodNotAllowed)
        ):
            return None
        asked = [name.strip().lower() for name in request.headers.get("Access-Control-Request-Headers", "").split(",")]
        headers = {
            "Access-Control-Allow-Methods": ", ".join(sorted(refusal.allowed_methods)),
            "Access-Control-Max-Age": str(PREFLIGHT_S),
            "Cache-Control": "no-store",
        }
        if allowed := sorted({name for name in asked if name in _KNOWN}):
            headers["Access-Control-Allow-Headers"] = ", ".join(allowed)
        return web.Response(status=204, headers=headers)


CORS = web.AppKey("cors", Cors)
"""Where the application holds it."""


def _headers(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": ", ".join(SHOWN_HEADERS),
        "Vary": "Origin",
    }


def _lines(headers: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
