"""The session cookie of the page, and the proof that a request with it comes from the page, not from another site."""

from __future__ import annotations

from aiohttp import web

from api.cors import CORS
from api.errors import Problem
from storage.sessions import SESSION_LIFETIME

COOKIE = "streamgauge_session"
LONGEST_TOKEN = 128
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def session_token(request: web.Request) -> str | None:
    """The token in the request's session cookie."""
    token = request.cookies.get(COOKIE)
    return token if token and token.isascii() and len(token) <= LONGEST_TOKEN else None


def set_session(request: web.Request, response: web.Response, token: str) -> None:
    """Gives the browser its session: out of reach of scripts and other sites, over https only if it came by https."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(SESSION_LIFETIME.total_seconds()),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=_by_https(request),
    )


def clear_session(request: web.Request, response: web.Response) -> None:
    """Takes the session from the browser."""
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=_by_https(request))


def require_same_origin(request: web.Request) -> None:
    """Raises Problem 403 for a request that changes something and does not prove to come from our own page."""
    if request.method not in _SAFE and not same_origin(request):
        raise Problem(403, "a request with the session cookie must come from this site's own page")


def same_origin(request: web.Request) -> bool:
    """Whether the request proves to come from our own page, or from one of an origin that the settings name.

    Browsers say so themselves: in `Sec-Fetch-Site` (over https and on localhost), else in `Origin`.
    """
    cors = request.config_dict.get(CORS)
    if cors is not None and cors.trusts(request.headers.get("Origin")):
        return True
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    host = request.headers.get("Host", "")
    return host != "" and request.headers.get("Origin", "").partition("://")[2].lower() == host.lower()


def opens_socket(request: web.Request) -> bool:
    """Whether the request asks for a WebSocket, which browsers open to any site without asking it first."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _by_https(request: web.Request) -> bool:
    # A proxy in front says how the browser came. To make it up only makes one's own cookie stricter.
    forwarded = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return request.secure or forwarded == "https"
