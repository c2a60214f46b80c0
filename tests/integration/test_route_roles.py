"""Every route and everybody who may come to it, against a table of what is allowed; a route that is not in the table fails."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from api.app import all_routes
from api.auth.keys import mint
from api.auth.tokens import OwnTokens
from storage import identity
from tests.integration.api_service import SECRET, Api, another, utc_now
from tests.integration.people import new_address, served

BAD = ("garbage", "wrong issuer", "expired", "revoked key", "disabled account")
PEOPLE = ("member", "owner", "admin")
KEYS = ("read key", "write key")
ROLES = ("nobody", *BAD, "other organization", *PEOPLE, *KEYS)
"""`other organization`: an owner who names an organization of others in the header."""

NOT_LET_IN = {"nobody": 401, **dict.fromkeys(BAD, 401), "other organization": 403}
IN = 200
"""Let in: whatever the answer, it is neither 401 nor 403."""


def closed(*roles: str, status: int = 403) -> Mapping[str, int]:
    """Open to these roles; to whoever else is known it answers with a status."""
    return {**NOT_LET_IN, **{role: IN if role in roles else status for role in (*PEOPLE, *KEYS)}}


BLIND = dict.fromkeys(ROLES, IN)
"""Does not look at credentials: it must answer whatever is sent along."""
OPEN = {**closed(*PEOPLE, *KEYS), "nobody": IN}
"""Open without a credential; a bad one is told."""
SIGNED_IN = closed(*PEOPLE, *KEYS)
READ = closed(*PEOPLE, "read key")
WRITE = closed(*PEOPLE, "write key")
PERSON = closed(*PEOPLE)
OWNER = closed("owner", "admin")
SOCKET = {**READ, "nobody": IN}
"""As reading; but whoever has no credential may send it in the first message."""

ALLOWED: dict[str, Mapping[str, int]] = {
    "POST /api/v1/events": WRITE,
    "GET /api/v1/events/sequence": WRITE,
    "GET /api/v1/rollups": READ,
    "GET /api/v1/query": READ,
    "GET /api/v1/exports": READ,
    "GET /api/v1/exports/{id}": READ,
    "GET /api/v1/stream": READ,
    "GET /ws": SOCKET,
    "GET /ws/dashboard": SOCKET,
    "GET /api/v1/dashboard/stats": READ,
    "GET /api/v1/dashboard/analytics": READ,
    "GET /api/v1/enterprise/metrics": READ,
    "GET /api/v1/metrics": READ,
    "GET /api/v1/deployments": READ,
    "POST /api/v1/deployments": WRITE,
    "PATCH /api/v1/deployments/{id}": WRITE,
    "GET /api/unify/v1/metrics": READ,
    "GET /api/unify/v1/reports/pnl": READ,
    "GET /api/unify/v1/analytics/trades": READ,
    "GET /api/unify/v1/analytics/strategies": READ,
    "GET /api/v1/leaderboards/creators": READ,
    "GET /users/top": READ,
    "GET /api/v1/enterprise/reports": READ,
    "POST /api/v1/reports": READ,
    "GET /api/v1/reports": READ,
    "GET /api/v1/reports/{id}": READ,
    "GET /api/v1/reports/{id}/progress": READ,
    "DELETE /api/v1/reports/{id}": READ,
    "GET /api/v1/reports/{id}/deliveries": READ,
    "POST /api/v1/reports/{id}/deliveries/{delivery}/retry": READ,
    "GET /api/v1/reports/{id}/download": BLIND,
    "POST /api/v1/report-schedules": READ,
    "GET /api/v1/report-schedules": READ,
    "GET /api/v1/report-schedules/{id}": READ,
    "PATCH /api/v1/report-schedules/{id}": READ,
    "DELETE /api/v1/report-schedules/{id}": READ,
    "GET /api/v1/report-schedules/{id}/runs": READ,
    "GET /users/{id}": READ,
    "PATCH /users/{id}": PERSON,
    "GET /api/v1/users/profile": PERSON,
    "PUT /api/v1/users/profile": PERSON,
    "POST /api/auth/register": BLIND,
    "POST /api/unify/v1/auth/signup": BLIND,
    "GET /api/unify/v1/user/profile": PERSON,
    "POST /api/auth/login": OPEN,
    "POST /api/auth/refresh": BLIND,
    "GET /signin": OPEN,
    "POST /api/auth/logout": BLIND,
    "GET /api/auth/me": SIGNED_IN,
    "POST /api/v1/session/organization": SIGNED_IN,
    "POST /api/v1/stream/tickets": READ,
    "GET /api/v1/auth/oauth/providers": BLIND,
    "POST /api/v1/organizations": PERSON,
    "GET /api/v1/organizations": SIGNED_IN,
    "GET /api/v1/organizations/{organization}": SIGNED_IN,
    "PATCH /api/v1/organizations/{organization}": OWNER,
    "GET /api/v1/organizations/{organization}/members": PERSON,
    "PATCH /api/v1/organizations/{organization}/members/{account}": OWNER,
    "DELETE /api/v1/organizations/{organization}/members/{account}": OWNER,
    "POST /api/v1/organizations/{organization}/invitations": OWNER,
    "GET /api/v1/organizations/{organization}/invitations": OWNER,
    "DELETE /api/v1/organizations/{organization}/invitations/{invitation}": OWNER,
    "POST /api/v1/invitations/accept": PERSON,
    "POST /api/v1/api-keys": OWNER,
    "GET /api/v1/api-keys": OWNER,
    "DELETE /api/v1/api-keys/{key}": OWNER,
    "GET /api/v1/audit": OWNER,
    "GET /health": BLIND,
    "GET /metrics": SIGNED_IN,
    "GET /health/detailed": SIGNED_IN,
    "GET /api/performance": SIGNED_IN,
    "GET /cache/metrics": SIGNED_IN,
    "POST /cache/invalidate": closed("owner", "admin", *KEYS),
    "GET /": BLIND,
    "GET /page/{version}/{file}": BLIND,
    "GET /openapi.json": OPEN,
    "GET /docs": OPEN,
    "GET /docs.css": OPEN,
}
"""Who may what, the operations' routes being closed to the public. A change of an access rule is a change of this table."""

BODIES: dict[str, Any] = {
    "POST /api/v1/events": [],
    "POST /api/v1/deployments": {"service": "s", "version": "1", "environment": "e"},
    "PATCH /api/v1/deployments/{id}": {"status": "succeeded"},
    "POST /api/v1/report-schedules": {
        "name": "s",
        "type": "performance",
        "cron": "@daily",
        "recipients": [{"kind": "store"}],
        "paused": True,
    },
    "PATCH /api/v1/report-schedules/{id}": {"name": "s"},
    "PUT /api/v1/users/profile": {"name": "Ann"},
    "PATCH /users/{id}": {"username": "ann"},
    "POST /api/v1/session/organization": {"organization": str(UUID(int=1))},
    "POST /api/v1/organizations": {"name": "Another"},
    "PATCH /api/v1/organizations/{organization}": {"name": "Acme"},
    "PATCH /api/v1/organizations/{organization}/members/{account}": {"role": "member"},
    "POST /api/v1/organizations/{organization}/invitations": {"email": "guest@example.com"},
    "POST /api/v1/invitations/accept": {"token": "none"},
    "POST /api/v1/api-keys": {"name": "k", "scopes": ["read"]},
    "POST /cache/invalidate": {},
}
"""Bodies that are good, so that nothing but the caller is wrong."""
QUERIES = {
    "GET /api/v1/query": "?rollup=trade_pnl",
    "GET /api/v1/exports": "?rollup=trade_pnl",
    "GET /api/v1/stream": "?rollup=trade_pnl",
    "GET /api/v1/events/sequence": "?type=system&source=s",
}


@dataclass
class Place:
    """A service whose operations are not public, somebody in each role, and an organization of others."""

    api: Api
    roles: dict[str, dict[str, str]]
    accounts: dict[str, UUID]
    others: UUID


def routes(api: Api) -> list[str]:
    return [f"{route.method} {route.path}" for route in all_routes(api.services)]


@pytest.fixture
async def place(api: Api) -> AsyncIterator[Place]:
    database, now = api.services.database, utc_now()
    api.clock.now = now
    tokens = OwnTokens(SECRET)
    accounts = {}
    for role in (*PEOPLE, "disabled account"):
        accounts[role] = await identity.create_account(
            database, new_address(role.split()[0]), "hash", deployment_admin=role == "admin"
        )
        await identity.create_membership(
            database, accounts[role], api.organization, "owner" if role in ("owner", "disabled account") else "member"
        )
    async with database.identity() as connection:
        await connection.execute(
            "update store.account set disabled_at = now() where id = %s", (accounts["disabled account"],)
        )
    keys = {}
    for name, scope in (("read key", "read"), ("write key", "events:write"), ("revoked key", "read")):
        key = mint()
        await identity.create_api_key(
            database, api.organization, name, prefix=key.prefix, key_digest=key.digest, scopes=[scope]
        )
        keys[name] = {"X-API-Key": key.text}
    async with database.identity() as connection:
        await connection.execute(
            "update store.api_key set revoked_at = now() where name = 'revoked key' and organization = %s",
            (api.organization,),
        )

    def bearer(text: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {text}"}

    async with another(api, "Others") as others, served(api, public_operations=False) as closed_api:
        wrong = jwt.encode(
            {"iss": "https://evil.example.com/", "sub": str(accounts["owner"]), "exp": now + timedelta(hours=1)},
            SECRET,
            algorithm="HS256",
        )
        roles = {
            "nobody": {},
            "garbage": bearer("garbage"),
            "wrong issuer": bearer(wrong),
            "expired": bearer(tokens.issue(accounts["owner"], now=now - timedelta(hours=2))),
            "disabled account": bearer(tokens.issue(accounts["disabled account"], now=now)),
            "other organization": {
                **bearer(tokens.issue(accounts["owner"], now=now)),
                "X-Organization-ID": str(others.organization),
            },
            **{role: bearer(tokens.issue(accounts[role], now=now)) for role in PEOPLE},
            **keys,
        }
        assert set(roles) == set(ROLES)
        yield Place(closed_api, roles, accounts, others.organization)


def filled_in(route: str, organization: UUID, caller: UUID | None) -> str:
    """The route's path with parameters that are good; ids of things are those of none, so that nothing is changed."""
    path = route.partition(" ")[2].replace("{organization}", str(organization))
    if path == "/users/{id}" and caller is not None:
        path = f"/users/{caller}"
    path = path.replace("{version}", "x").replace("{file}", "page.js")
    return re.sub(r"{\w+}", lambda _: str(uuid4()), path) + QUERIES.get(route, "")


async def status(place: Place, route: str, role: str, organization: UUID | None = None) -> int:
    """How a route answers to somebody; the answer is not read, as a stream's has no end."""
    api = place.api
    path = filled_in(route, organization or api.organization, place.accounts.get(role))
    body = BODIES.get(route)
    async with api.session.request(
        route.partition(" ")[0], api.url + path, json=body, headers=place.roles[role]
    ) as answer:
        return answer.status


def test_the_table_names_every_role_for_every_route() -> None:
    for route, allowed in ALLOWED.items():
        assert set(allowed) == set(ROLES), route


async def test_every_route_is_in_the_table_and_no_other(api: Api) -> None:
    found = routes(api)
    assert len(found) == len(set(found))
    assert set(found) - set(ALLOWED) == set(), "routes that nobody has said anything about: whom are they open to?"
    assert set(ALLOWED) - set(found) == set(), "there are no such routes any more"


async def test_every_route_lets_in_whom_the_table_says(place: Place) -> None:
    wrong = {}
    for role in ROLES:
        for route, allowed in ALLOWED.items():
            got = await status(place, route, role)
            assert got < 500, (route, role, got)
            if (got if got in (401, 403) else IN) != allowed[role]:
                wrong[role, route] = f"{got}, not {allowed[role]}"
    assert wrong == {}


async def test_an_organization_of_others_is_none_to_whoever_is_not_in_it(place: Place) -> None:
    for route in (route for route in ALLOWED if "{organization}" in route):
        for role in (*PEOPLE, *KEYS):
            got, none = [await status(place, route, role, one) for one in (place.others, uuid4())]
            if role == "admin":
                assert got not in (401, 403), (route, role, got)
            else:
                assert got == none, (route, role, got, none)
                assert got in (403, 404), (route, role, got)
