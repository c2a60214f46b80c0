"""The HTTP server: the application on a port, with the bounds that hostile and slow callers meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


async def require_free(host: str, port: int) -> None:
    """Raises OSError where somebody listens on the port: shared listening would not notice another service there."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int, *, shared: bool = False) -> AsyncIterator[int]:
    """Serves until the block ends and yields the port (the free one that was found for 0). Raises OSError where it is taken.

    `shared`: other processes may listen on the port too, and the kernel spreads connections over them.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        shutdown_timeout=2.0,
        keepalive_timeout=75.0,
        max_line_size=8190,
        max_field_size=8190,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024, reuse_port=shared or None)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
