"""`/api/v1/deployments`: what OpsSight lists, and what deploying systems record."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.principal import caller
from api.entered import read_json
from api.errors import Problem
from api.freshness import fresh
from api.routing import Route, json_answer, parse_query
from api.services import services
from ingest.events.decode import Limits
from storage.deployments import (
    Deployment,
    DeploymentFilter,
    change_deployment,
    list_deployments,
    record_deployment,
)

PATH = "/api/v1/deployments"
MOST = 100
"""Deployments on a page."""
FARTHEST = 100_000
"""How many deployments may stand before a page."""

Status = Literal["pending", "running", "succeeded", "failed", "rolled_back"]
Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]

FOLLOWS: dict[str, tuple[str, ...]] = {
    "pending": ("running", "succeeded", "failed", "rolled_back"),
    "running": ("succeeded", "failed", "rolled_back"),
    "succeeded": ("rolled_back",),
    "failed": ("rolled_back",),
    "rolled_back": (),
}
"""What each status may become. Who tries again starts another deployment."""
OVER = ("succeeded", "failed", "rolled_back")


class DeploymentsQuery(msgspec.Struct, kw_only=True):
    """The page, from 1, and how many are on it; only those of a service, an environment, a status."""

    page: Annotated[int, msgspec.Meta(ge=1)] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST)] = 10
    service: str | None = None
    environment: str | None = None
    status: Status | None = None


class ShownDeployment(msgspec.Struct):
    """One deployment; `finished_at` is null while it is pending or running."""

    id: UUID
    service: str
    version: str
    environment: str
    status: Status
    started_at: dt.datetime
    finished_at: dt.datetime | None


class Deployments(msgspec.Struct):
    """A page of deployments, the newest start first. `total`: how many there are on all pages."""

    deployments: list[ShownDeployment]
    total: int
    page: int
    limit: int


class NewDeployment(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A deployment to record. `started_at` is now by default; so is `finished_at` where the status says that it is over.

    `id`: an own one, a UUID, by which a request that is sent again is known; by default one is made.
    """

    service: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    environment: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    status: Status = "pending"
    started_at: Instant | None = None
    finished_at: Instant | None = None
    id: UUID | None = None


class DeploymentChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What became of a deployment. `finished_at` is now by default, where the status says that it is over."""

    status: Status | None = None
    finished_at: Instant | None = None


async def listed(request: web.Request) -> web.StreamResponse:
    """The organization's deployments, a page at a time."""
    asked, parts = parse_query(request, DeploymentsQuery), services(request)
    offset = (asked.page - 1) * asked.limit
    if offset > FARTHEST:
        detail = f"page: at most {FARTHEST} deployments may stand before it; narrow by service or environment"
        raise Problem(400, detail, parameter="page")
    wanted = DeploymentFilter(asked.service, asked.environment, asked.status)
    read_at = parts.now()
    organization = caller(request).organization
    found, total = await list_deployments(parts.database, organization, wanted, limit=asked.limit, offset=offset)
    page = Deployments([shown_deployment(one) for one in found], total, asked.page, asked.limit)
    # Deployments do not pass the log: what was recorded before the request is there.
    return fresh(json_answer(page), read_at, request)


async def report(request: web.Request) -> web.StreamResponse:
    """201 and the deployment; 200 and the one that there is, where its id is known."""
    given, parts = await read_json(request, NewDeployment), services(request)
    now = parts.now()
    started_at = _time("started_at", given.started_at, now, parts.limits) or now
    finished_at = _time("finished_at", given.finished_at, now, parts.limits)
    if finished_at is None and given.status in OVER:
        finished_at = max(now, started_at)
    _check_end(given.status, started_at, finished_at)
    made, new = await record_deployment(
        parts.database,
        caller(request).organization,
        id_=given.id,
        service=given.service,
        version=given.version,
        environment=given.environment,
        status=given.status,
        started_at=started_at,
        finished_at=finished_at,
    )
    return json_answer(shown_deployment(made), status=201 if new else 200, headers={"Location": f"{PATH}/{made.id}"})


async def change(request: web.Request) -> web.StreamResponse:
    """The deployment as it is now. The same status again is no change; 409 for one that cannot follow."""
    given, parts = await read_json(request, DeploymentChange), services(request)
    if given.status is None and given.finished_at is None:
        raise Problem(422, "status: is missing", parameter="status")
    now = parts.now()
    finished_at = _time("finished_at", given.finished_at, now, parts.limits)

    def changed(before: Deployment) -> Deployment:
        status = given.status or before.status
        if status != before.status and status not in FOLLOWS[before.status]:
            detail = f"status: a deployment that is {before.status} does not become {status}"
            raise Problem(409, detail, parameter="status")
        end = finished_at
        if end is None and status in OVER:
            end = before.finished_at if status == before.status else max(now, before.started_at)
        _check_end(status, before.started_at, end)
        return replace(before, status=status, finished_at=end)

    after = await change_deployment(parts.database, caller(request).organization, _id(request), changed)
    if after is None:
        raise Problem(404, "there is no deployment with this id")
    return json_answer(shown_deployment(after))


def _id(request: web.Request) -> UUID:
    try:
        return UUID(request.match_info["id"])
    except ValueError:
        raise Problem(404, "there is no deployment with this id") from None


def _time(field: str, time: dt.datetime | None, now: dt.datetime, limits: Limits) -> dt.datetime | None:
    """A time that can be believed, in UTC; the bounds are those of events."""
    if time is None:
        return None
    if not limits.earliest <= time <= now + limits.ahead:
        detail = f"{field}: expected a time from {limits.earliest.date()} to {limits.ahead} ahead of now"
        raise Problem(422, detail, parameter=field)
    return time.astimezone(dt.UTC)


def _check_end(status: str, started_at: dt.datetime, finished_at: dt.datetime | None) -> None:
    if finished_at is not None and status not in OVER:
        raise Problem(422, f"finished_at: a deployment that is {status} has not finished", parameter="finished_at")
    if finished_at is not None and finished_at < started_at:
        raise Problem(422, "finished_at: lies before started_at", parameter="finished_at")


def shown_deployment(one: Deployment) -> ShownDeployment:
    """A deployment as it is written."""
    return msgspec.convert(one, ShownDeployment, from_attributes=True)


ROUTES = [
    Route("GET", PATH, listed, "Deployments", query=DeploymentsQuery, answer=Deployments, tags=("deployments",)),
    Route(
        "POST",
        PATH,
        report,
        "Record a deployment",
        scope="events:write",
        body=NewDeployment,
        answer=ShownDeployment,
        status=201,
        tags=("deployments",),
        errors=(400, 413, 415, 422),
        also={200: {"application/json": ShownDeployment}},
    ),
    Route(
        "PATCH",
        PATH + "/{id}",
        change,
        "Say what became of a deployment",
        scope="events:write",
        body=DeploymentChange,
        answer=ShownDeployment,
        tags=("deployments",),
        errors=(400, 404, 409, 413, 415, 422),
        identifiers=True,
    ),
]
