"""The application: every route there is, and what every request passes through."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from api import dashboard, events, health, health_detailed, leaderboards, openapi, query, trades, users
from api.auth.routes import routes as auth_routes
from api.middlewares.identity import identify
from api.middlewares.observe import mark, observe
from api.page.routes import routes as page_routes
from api.routing import Route
from api.services import SERVICES, Services
from api.stream import routes as stream

VERSION = "0.1.0"


def all_routes(services: Services) -> list[Route]:
    """Every route, in the order of the documentation. A new area adds its list here."""
    routes = [
        *events.ROUTES,
        *query.ROUTES,
        *stream.ROUTES,
        *dashboard.ROUTES,
        *trades.ROUTES,
        *leaderboards.ROUTES,
        *users.ROUTES,
        *auth_routes(services.database, services.authenticator),
        *health.ROUTES,
        *health_detailed.ROUTES,
        *page_routes(),
    ]
    return [*routes, *openapi.routes(routes, VERSION)]


def application(services: Services) -> web.Application:
    """The aiohttp application over the parts."""
    routes = all_routes(services)
    app = web.Application(
        middlewares=[observe, identify({(route.method, route.path): route for route in routes})],
        client_max_size=services.max_body_bytes + 1,
    )
    app[SERVICES] = services
    _mount(app, routes)

    async def stop_streams(_: web.Application) -> None:
        await services.hub.stop()

    app.on_shutdown.append(stop_streams)
    app.on_response_prepare.append(mark)
    return app


def _mount(app: web.Application, routes: Sequence[Route]) -> None:
    for route in routes:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler, allow_head=False)
        else:
            app.router.add_route(route.method, route.path, route.handler)
