"""Where a ticket in the address is a credential: for what browsers cannot send headers with."""

from __future__ import annotations

from aiohttp import web

_ROUTES = frozenset({"/api/v1/stream", "/api/v1/reports/{id}/progress", "/ws", "/ws/dashboard"})


def ticket_of(request: web.Request) -> str | None:
    """What stands in `?ticket=`, where that route takes one."""
    resource = request.match_info.route.resource
    return request.query.get("ticket") if resource is not None and resource.canonical in _ROUTES else None
