"""Who asks: every route states whom it is open to, and this middleware holds requests against it."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Middleware

from api.auth.authenticate import ORGANIZATION_HEADER
from api.auth.principal import PRINCIPAL, not_signed_in
from api.client_address import client_address
from api.errors import Problem
from api.routing import Handler, Route
from api.services import services


def identify(routes: Mapping[tuple[str, str], Route]) -> Middleware:
    """The middleware for these routes, by method and path. A path that is no route of ours goes through to its 404."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        rates = services(request).edge.rates
        resource = request.match_info.route.resource
        route = routes.get((request.method, resource.canonical if resource is not None else ""))
        if route is None:
            # Only what will end in 404 or 405 comes through: a path that was mounted past the table is closed.
            if resource is not None:
                raise Problem(403, "this path is open to nobody")
            rates.request(request, None)
            return await handler(request)
        if route.scope is None and route.anonymous:
            if route.limited:
                rates.request(request, None)
            return await handler(request)
        authenticator = services(request).authenticator
        if not authenticator.knows(request):
            rates.stranger(request)
        try:
            principal = await authenticator.authenticate(request)
        except Problem as problem:
            if problem.status == 401:
                # Whoever tries credentials is bounded as whoever has none.
                rates.request(request, None)
            raise
        rates.request(request, principal)
        if principal is not None:
            request[PRINCIPAL] = principal
            by_header = ORGANIZATION_HEADER in request.headers
            authenticator.arrivals.note(principal, by_header=by_header, address=client_address(request))
        if route.scope is not None:
            if principal is None:
                raise not_signed_in("sign in, or send an API key or an access token")
            if not principal.allows(route.scope):
                raise Problem(403, f"this needs the scope {route.scope}")
            if route.organization is not None and route.organization in request.query:
                # Before the handler, and whatever stands between: who acts for whom is decided here alone.
                asked = request.query[route.organization]
                principal = request[PRINCIPAL] = await authenticator.acting_for(principal, asked, route.organization)
                authenticator.arrivals.note(principal, by_header=True, address=client_address(request))
        if not route.kinds or principal is None or (cache := services(request).cache) is None:
            return await handler(request)
        return await cache.answer(request, route, principal, handler)

    return middleware
