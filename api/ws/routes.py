"""The paths that speak WebSocket."""

from __future__ import annotations

from api.routing import Route
from api.ws.conversation import SocketQuery
from api.ws.modelcompare import modelcompare
from api.ws.opssight import opssight

ROUTES = [
    Route(
        "GET",
        path,
        handler,
        summary,
        scope=None,
        query=SocketQuery,
        status=101,
        tags=("streams",),
        errors=(400, 401, 403, 426, 429),
    )
    for path, handler, summary in (
        ("/ws", modelcompare, "ModelCompare's WebSocket: system metrics and comparisons as they change"),
        ("/ws/dashboard", opssight, "OpsSight's WebSocket: metrics and deployments as they change"),
    )
]
