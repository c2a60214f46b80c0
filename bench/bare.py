"""What the service is held against: an aiohttp handler that returns bytes it was given and does nothing else.

Run as `python -m bench.bare PORT FILE`; the file holds the headers and the body in JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from aiohttp import web

try:
    import uvloop as loops
except ImportError:
    loops = asyncio  # type: ignore[misc]


async def _serve(port: int, headers: dict[str, str], body: bytes) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    app = web.Application()
    app.router.add_get("/health", handler)
    app.router.add_get("/api/v1/dashboard/stats", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[2]).read_text())
    loops.run(_serve(int(sys.argv[1]), given["headers"], given["body"].encode()))
