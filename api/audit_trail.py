"""`/api/v1/audit`: what was done in the organization that the caller acts for."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from api.api_keys import require_owner
from api.auth.principal import caller
from api.auth.sign_in import NO_STORE
from api.errors import Problem
from api.routing import Route, json_answer, parse_query
from api.services import services
from storage.audit import AuditEntry, list_audit, list_whole_audit


class AuditQuery(msgspec.Struct):
    """At most `limit` entries, the newest first; `cursor` goes on from an answer's. `action` names one kind of deed.

    `of=deployment` shows the entries of all organizations and of none, to the deployment's admin.
    """

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)] | None = None
    action: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    of: Literal["organization", "deployment"] = "organization"


class AuditShown(msgspec.Struct):
    """One entry: who (`account`, and `actor`: their address then), did what, to what, from which network address."""

    id: int
    at: dt.datetime
    organization: UUID | None
    action: str
    account: UUID | None
    actor: str | None
    subject: str | None
    address: str | None
    details: dict[str, Any]


class Audit(msgspec.Struct):
    """A page of entries; `cursor` is null on the last one."""

    entries: list[AuditShown]
    cursor: int | None


async def audit(request: web.Request) -> web.StreamResponse:
    """The entries, the newest first."""
    asked = parse_query(request, AuditQuery)
    database, more = services(request).database, asked.limit + 1
    organization = await require_owner(request)
    if asked.of == "deployment":
        if caller(request).role != "admin":
            raise Problem(403, "of: only the deployment's admin sees all of it", parameter="of")
        rows = await list_whole_audit(database, limit=more, before=asked.cursor, action=asked.action)
    else:
        rows = await list_audit(database, organization, limit=more, before=asked.cursor, action=asked.action)
    shown = rows[: asked.limit]
    cursor = shown[-1].id if len(rows) > asked.limit else None
    return json_answer(Audit([_shown(row) for row in shown], cursor), headers=NO_STORE)


def _shown(row: AuditEntry) -> AuditShown:
    return AuditShown(
        row.id,
        row.happened_at,
        row.organization,
        row.action,
        row.account,
        row.actor,
        row.subject,
        row.address,
        row.details,
    )


ROUTES = [
    Route(
        "GET",
        "/api/v1/audit",
        audit,
        "What was done in the organization",
        scope="any",
        query=AuditQuery,
        answer=Audit,
        tags=("identity",),
    ),
]
