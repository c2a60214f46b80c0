"""`/health` for load balancers, `/metrics` for Prometheus."""

from __future__ import annotations

import msgspec
from aiohttp import web

from api.auth.principal import PRINCIPAL
from api.errors import Problem
from api.routing import Route, json_answer
from api.services import services
from storage.database import StorageUnavailable


class Health(msgspec.Struct):
    """`ok`, or `down` with what is missing."""

    status: str
    database: str


async def health(request: web.Request) -> web.StreamResponse:
    """Whether events can be taken and figures read: 200, or 503."""
    try:
        await services(request).database.ping()
    except StorageUnavailable:
        return json_answer(Health("down", "unreachable"), status=503, headers={"Retry-After": "2"})
    return json_answer(Health("ok", "ok"))


def admit_operations(request: web.Request) -> None:
    """Lets in whoever has a credential, and anybody where STREAMGAUGE_PUBLIC_OPERATIONS is on; raises Problem 401 otherwise."""
    if not services(request).public_operations and request.get(PRINCIPAL) is None:
        raise Problem(401, "a credential is needed", headers={"WWW-Authenticate": "Bearer"})


async def prometheus(request: web.Request) -> web.StreamResponse:
    """The service's own counters in Prometheus' text format. They hold no organization's data."""
    admit_operations(request)
    parts = services(request)
    return web.Response(
        body=parts.observation.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


ROUTES = [
    Route(
        "GET",
        "/health",
        health,
        "Is the service up",
        scope=None,
        answer=Health,
        tags=("operations",),
        also={503: {"application/json": Health}},
        anonymous=True,
        limited=False,
    ),
    Route(
        "GET",
        "/metrics",
        prometheus,
        "Prometheus metrics",
        scope=None,
        media="text/plain",
        answer=str,
        tags=("operations",),
        errors=(401,),
    ),
]
