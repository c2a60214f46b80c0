"""The errors that a handler may raise, and the one place where they become answers.

That is problem details (RFC 9457), but under the video feed's paths the shape that its document gives: `APIError`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request took too long",
    409: "Conflict",
    410: "Gone",
    413: "Too large",
    415: "Unsupported media type",
    422: "Unprocessable",
    426: "Upgrade needed",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
    504: "Took too long",
}


class ProblemDetails(msgspec.Struct, omit_defaults=True):
    """RFC 9457 problem details. `parameter` names the query parameter or field that is wrong, where one is."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    parameter: str | None = None


class APIError(msgspec.Struct, rename="camel"):
    """What the video feed's front end shows: a text for people, the status, and what that status is called."""

    message: str
    status_code: int
    error: str


_VIDEO_FEED = ("/videos", "/users")


def of_video_feed(path: str) -> bool:
    """Whether a path is one of the video feed's, whose errors are `APIError`."""
    return path.startswith(_VIDEO_FEED) and any(path == base or path.startswith(base + "/") for base in _VIDEO_FEED)


class Problem(Exception):
    """A request that cannot be answered as asked; `detail` is safe to show to its sender."""

    def __init__(
        self, status: int, detail: str, *, parameter: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.parameter = parameter
        self.headers = dict(headers or {})

    def response(self, path: str = "") -> web.Response:
        """The answer that tells of it, in the shape of the path that was asked."""
        title = TITLES.get(self.status, "Error")
        body: msgspec.Struct
        if of_video_feed(path):
            body, media = APIError(self.detail, self.status, title), "application/json"
        else:
            body = ProblemDetails(title, self.status, self.detail, parameter=self.parameter)
            media = "application/problem+json"
        return web.Response(
            status=self.status, body=msgspec.json.encode(body), content_type=media, headers=self.headers
        )
