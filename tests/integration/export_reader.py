"""What tests do with exports: read whole ones and hold them against their manifests, or take nothing until told."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import aiohttp

from tests.integration.api_service import Api, Reply
from tests.integration.stream_reader import small_buffers


async def manifest_of(api: Api, reply: Any) -> Any:
    """The manifest that an answer names."""
    found = await api.get(f"/api/v1/exports/{reply.headers['X-Export-ID']}")
    assert found.status == 200, found.text
    assert reply.headers["Link"] == f'</api/v1/exports/{found.json["id"]}>; rel="describedby"'
    return found.json


async def exported(api: Api, rollup: str, **asked: Any) -> Reply:
    """A whole export, held against its manifest."""
    reply = await api.get("/api/v1/exports", rollup=rollup, **asked)
    assert reply.status == 200, reply.text
    manifest = await manifest_of(api, reply)
    assert (manifest["status"], manifest["error"]) == ("complete", None)
    assert (manifest["bytes"], manifest["sha256"]) == (len(reply.body), hashlib.sha256(reply.body).hexdigest())
    if "Content-Length" in reply.headers:
        digest = base64.b64encode(hashlib.sha256(reply.body).digest()).decode()
        assert reply.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    return reply


async def paged(api: Api, rollup: str, *, limit: int = 1_000, **asked: Any) -> tuple[list[str], list[list[Any]]]:
    """The same by `/api/v1/query`, page by page."""
    rows: list[list[Any]] = []
    more: dict[str, str] = {}
    while True:
        reply = await api.query(rollup, limit=limit, **asked, **more)
        rows += reply.rows
        if reply.json["cursor"] is None:
            return reply.json["columns"], rows
        more = {"cursor": reply.json["cursor"]}


LONG = {"rollup": "system_metrics", "grain": "1m", "fill": "zero", "from_": "2020-01-01", "to": "2026-01-01"}
"""Three million rows: what nobody reads waits in no buffer."""


class Slow:
    """A reader of an export who takes nothing until told."""

    def __init__(self, api: Api, **asked: Any) -> None:
        self._api = api
        self._asked = asked
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=small_buffers))

    async def __aenter__(self) -> Slow:
        pairs = [(name.rstrip("_"), str(value)) for name, value in self._asked.items()]
        self.answer = await self._session.get(
            self._api.url + "/api/v1/exports", params=pairs, headers=self._api.headers
        )
        assert self.answer.status == 200, await self.answer.text()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.answer.close()
        await self._session.close()

    async def status(self) -> Any:
        """The manifest as it is now."""
        return await manifest_of(self._api, self.answer)

    async def ended(self) -> Any:
        """The manifest once the export is over."""
        async with asyncio.timeout(20):
            while (found := await self.status())["status"] == "running":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return found
