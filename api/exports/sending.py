"""Bytes to a reader who has to keep going; an answer that cannot be finished is cut, so that nobody takes it for whole."""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import web

from api.exports.bounds import ExportBounds


class ReaderTooSlow(Exception):
    """The reader takes less than it has to."""


class Sending:
    """The body of one answer, and what has been sent of it."""

    def __init__(self, request: web.Request, response: web.StreamResponse, bounds: ExportBounds) -> None:
        self._request = request
        self._bounds = bounds
        self._waited = 0.0
        self.response = response
        self.size = 0
        self.digest = hashlib.sha256()

    async def begin(self) -> None:
        """Sends the head."""
        await self.response.prepare(self._request)

    async def write(self, piece: bytes) -> None:
        """Sends a piece, as soon as the reader has taken enough of those before. Raises ReaderTooSlow, ConnectionError."""
        loop = asyncio.get_running_loop()
        # What lies in the system's buffers counts as taken, so a reader who stopped is told by this piece's own time.
        allowed = self._bounds.grace_s + min(0.0, self.size / self._bounds.least_rate - self._waited)
        began = loop.time()
        limit = asyncio.timeout(max(0.0, allowed))
        try:
            async with limit:
                await self.response.write(piece)
        except TimeoutError:
            if limit.expired():
                raise ReaderTooSlow("the reader was too slow") from None
            raise
        self._waited += loop.time() - began
        self.size += len(piece)
        self.digest.update(piece)

    def cut(self) -> None:
        """Ends the connection in the middle of the body: without its last chunk, or with less than its length said."""
        if self._request.transport is not None:
            self._request.transport.abort()
