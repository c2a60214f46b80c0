"""The application: every route there is, and what every request passes through."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from aiohttp import web

from api import (
    analytics,
    api_keys,
    audit_trail,
    dashboard,
    deployments,
    enterprise_metrics,
    events,
    health,
    health_detailed,
    leaderboards,
    live_metrics,
    openapi,
    performance,
    query,
    report_deliveries,
    report_progress,
    report_schedules,
    reports,
    users,
)
from api.auth import providers
from api.auth.routes import routes as auth_routes
from api.cache import routes as cache
from api.cache.collector import CacheCollector
from api.client_address import PROXIES
from api.cors import CORS
from api.exports import routes as exports
from api.exports.bounds import Slots
from api.exports.folders import sweep
from api.middlewares.identity import identify
from api.middlewares.observe import mark, observe
from api.organizations import inviting, people
from api.organizations import profile as organizations
from api.page.routes import routes as page_routes
from api.reception import complete
from api.report_waiting import RUN_WAITERS, RunWaiters
from api.routing import Route
from api.services import SERVICES, Services
from api.stream import routes as stream
from api.stream.announcements import ANNOUNCEMENTS, Announcements
from api.stream.readers import READERS, Readers
from api.trades import routes as trades
from api.ws import routes as sockets
from api.ws.opssight import SUBJECTS, subjects

VERSION = "0.1.0"


def all_routes(services: Services) -> list[Route]:
    """Every route, in the order of the documentation. A new area adds its list here."""
    routes = [
        *events.ROUTES,
        *query.ROUTES,
        *exports.ROUTES,
        *stream.ROUTES,
        *sockets.ROUTES,
        *dashboard.ROUTES,
        *analytics.ROUTES,
        *enterprise_metrics.ROUTES,
        *live_metrics.ROUTES,
        *deployments.ROUTES,
        *trades.ROUTES,
        *reports.ROUTES,
        *report_progress.ROUTES,
        *report_schedules.ROUTES,
        *report_deliveries.ROUTES,
        *leaderboards.ROUTES,
        *users.ROUTES,
        *auth_routes(
            services.database,
            services.authenticator,
            passwords=services.passwords,
            open_registration=services.open_registration,
            sign_ins=services.edge.sign_ins,
        ),
        *providers.ROUTES,
        *organizations.ROUTES,
        *people.ROUTES,
        *inviting.ROUTES,
        *api_keys.ROUTES,
        *audit_trail.ROUTES,
        *health.ROUTES,
        *health_detailed.ROUTES,
        *performance.ROUTES,
        *cache.ROUTES,
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
    app[PROXIES] = services.edge.proxies
    app[CORS] = services.edge.cors
    readers = app[READERS] = Readers(
        services.authenticator,
        per_credential=services.edge.streams_per_credential,
        waiting_per_address=services.edge.waiting_sockets_per_address,
    )
    waiters = app[RUN_WAITERS] = RunWaiters()
    announcements = app[ANNOUNCEMENTS] = Announcements(services.database, services.hub, waiters)
    slots = app[exports.SLOTS] = Slots(services.exports)
    app[SUBJECTS] = subjects()
    if services.cache is not None:
        services.cache.begin(partial(complete, services))
        services.hub.follow(services.cache)
        CacheCollector(services.cache).register(services.observation.registry)
    _mount(app, routes)

    async def start_streams(_: web.Application) -> None:
        readers.start()
        await announcements.start()

    async def stop_streams(_: web.Application) -> None:
        await announcements.stop()
        await readers.stop()
        await services.hub.stop()

    async def sweep_exports(_: web.Application) -> None:
        await asyncio.to_thread(sweep)

    async def stop_exports(_: web.Application) -> None:
        await slots.stop()

    async def close_exports(_: web.Application) -> None:
        slots.close()

    async def note_arrivals(_: web.Application) -> None:
        await services.authenticator.arrivals.settled()

    app.on_startup.append(start_streams)
    app.on_startup.append(sweep_exports)
    app.on_shutdown.append(stop_exports)
    app.on_shutdown.append(stop_streams)
    app.on_cleanup.append(close_exports)
    app.on_cleanup.append(note_arrivals)
    app.on_response_prepare.append(mark)
    return app


def _mount(app: web.Application, routes: Sequence[Route]) -> None:
    for route in routes:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler, allow_head=False)
        else:
            app.router.add_route(route.method, route.path, route.handler)
