"""The HTTP server: the application on a port, with the bounds that hostile and slow callers meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from api.connections import Connections, Times

MOST_HEADERS = 100
LONGEST_LINE = 8_190
"""Bytes of a request's first line, and of each header."""


async def require_free(host: str, port: int) -> None:
    """Raises OSError where somebody listens on the port: shared listening would not notice another service there."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, *, shared: bool = False, times: Times | None = None
) -> AsyncIterator[int]:
    """Serves until the block ends and yields the port (the free one that was found for 0). Raises OSError where it is taken.

    `shared`: other processes may listen on the port too, and the kernel spreads connections over them.
    """
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=2.0)
    await runner.setup()
    try:
        assert runner.server is not None
        connections = Connections(
            runner.server,
            times or Times(),
            access_log=None,
            auto_decompress=False,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_HEADERS,
        )
        server = await asyncio.get_running_loop().create_server(
            connections, host, port, backlog=1024, reuse_port=shared or None
        )
        looking = asyncio.create_task(connections.look_always(), name="slow-connections")
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            server.close()
    finally:
        await runner.cleanup()
