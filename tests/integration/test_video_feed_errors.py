"""Under the video feed's paths every failure has the shape of its document's `APIError`; elsewhere none has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api.errors import Problem, of_video_feed
from storage.database import QueryTooSlow, StorageUnavailable
from tests.integration.api_service import Api, Reply


def held(reply: Reply, status: int, error: str) -> str:
    """Holds the answer against the document's interface; its message."""
    assert (reply.status, reply.headers["Content-Type"]) == (status, "application/json"), reply.text
    body = reply.json
    assert set(body) == {"message", "statusCode", "error"}, body
    assert (body["statusCode"], body["error"]) == (status, error)
    assert isinstance(body["message"], str)
    assert body["message"]
    return str(body["message"])


async def test_refusals_of_every_kind(api: Api) -> None:
    nobody = {"Authorization": "Bearer nonsense"}
    for path in ("/users/top", "/users/somebody"):
        reply = await api.get(path, headers=nobody)
        assert held(reply, 401, "Not signed in") == "the access token is not valid"
        assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert held(await api.get("/users/top", limit=0), 400, "Bad request").startswith("limit: ")
    assert held(await api.get("/users/top", page=0), 400, "Bad request").startswith("page: ")
    for path in ("/videos", "/videos/", "/videos/nothing/there", "/users", "/users/a/b/c", "/users/top/"):
        assert held(await api.get(path), 404, "Not found") == "there is nothing at this path"
    reply = await api.request("PUT", "/users/top")
    held(reply, 405, "Method not allowed")
    assert "GET" in reply.headers["Allow"]
    elsewhere = {"X-Organization-ID": "6f1c1c1e-6f0e-4a52-9f53-0f1d8c7a1b11"}
    held(await api.get("/users/top", headers=elsewhere), 403, "Not allowed")


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (RuntimeError("relation store.secret"), 500, "Internal error"),
        (StorageUnavailable("store.secret"), 503, "Unavailable"),
        (QueryTooSlow("store.secret"), 504, "Took too long"),
        (Problem(422, "username: is taken"), 422, "Unprocessable"),
        (Problem(429, "too many", headers={"Retry-After": "7"}), 429, "Too many requests"),
    ],
)
async def test_failures_of_ours(
    api: Api, monkeypatch: pytest.MonkeyPatch, raised: Exception, status: int, error: str
) -> None:
    def failing() -> Callable[..., Awaitable[Any]]:
        async def fail(*_: Any, **__: Any) -> Any:
            raise raised

        return fail

    monkeypatch.setattr("api.auth.authenticate.Authenticator.authenticate", failing())
    reply = await api.get("/users/top")
    assert "secret" not in held(reply, status, error)
    if status == 429:
        assert reply.headers["Retry-After"] == "7"
    assert (await api.get("/api/v1/rollups")).headers["Content-Type"] == "application/problem+json"


def test_only_the_video_feeds_own_paths() -> None:
    assert all(of_video_feed(path) for path in ("/videos", "/videos/a", "/users", "/users/", "/users/a/liked"))
    assert not any(of_video_feed(path) for path in ("", "/", "/usersx", "/video", "/api/v1/users/profile", "/x/users"))


async def test_the_openapi_document_says_so(api: Api) -> None:
    paths = (await api.get("/openapi.json")).json["paths"]
    for path, item in paths.items():
        for operation in item.values():
            # What is wrong with a request is told in the shape of the path's front end, whatever else an answer of that status may be.
            for status, response in operation["responses"].items():
                if status in ("400", "401", "403", "404", "429", "500"):
                    media = "application/json" if of_video_feed(path) else "application/problem+json"
                    assert media in response["content"], (path, status)
