"""`/api/v1/reports/{id}/deliveries`: to whom a report was handed over, and once more where that was given up."""

from __future__ import annotations

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.principal import caller
from api.errors import Problem
from api.report_requests import sees_only
from api.reports import PATH, report_id
from api.routing import Route, json_answer
from api.services import services
from storage.report_recipients import Recipient
from storage.run_deliveries import RunDelivery, deliver_again, run_deliveries


class ShownDelivery(msgspec.Struct):
    """How far a delivery is. `dead`: it is not tried again by itself, and `error` says why.

    `attempts`: how often it was begun. `next_at`: of a waiting one, when it is tried again. `error` is the last attempt's.
    """

    id: UUID
    recipient: Recipient
    status: Literal["waiting", "delivered", "dead", "cancelled"]
    attempts: int
    next_at: dt.datetime | None
    error: str | None
    delivered_at: dt.datetime | None
    created_at: dt.datetime


class DeliveryList(msgspec.Struct):
    """The deliveries of a report, in the order of its recipients; none before it is over, and none where nobody was named."""

    deliveries: list[ShownDelivery]


class DeliveryAnswer(msgspec.Struct):
    """One delivery."""

    delivery: ShownDelivery


async def listed_deliveries(request: web.Request) -> web.StreamResponse:
    """To whom the report goes, and how far that is."""
    return json_answer(DeliveryList([_shown(one) for one in await _deliveries(request)]))


async def retried_delivery(request: web.Request) -> web.StreamResponse:
    """Tries a dead one again, at once and with its key: a receiver that had it already knows it. 409 where it is not dead."""
    delivery = _delivery_id(request)
    found = {one.id: one for one in await _deliveries(request)}
    if delivery not in found:
        raise _unknown()
    principal, parts = caller(request), services(request)
    if not await deliver_again(parts.database, principal.organization, report_id(request), delivery, now=parts.now()):
        raise Problem(409, f"the delivery is {found[delivery].status}; only a dead one is tried again")
    again = {one.id: one for one in await _deliveries(request)}
    if delivery not in again:
        raise _unknown()
    return json_answer(DeliveryAnswer(_shown(again[delivery])))


async def _deliveries(request: web.Request) -> list[RunDelivery]:
    """Those of the report that the path names. Raises Problem 404."""
    principal, parts = caller(request), services(request)
    found = await run_deliveries(
        parts.database, principal.organization, report_id(request), requested_by=sees_only(principal)
    )
    if found is None:
        raise Problem(404, "there is no report with this id")
    return found


def _delivery_id(request: web.Request) -> UUID:
    try:
        return UUID(request.match_info["delivery"])
    except ValueError:
        raise _unknown() from None


def _unknown() -> Problem:
    return Problem(404, "there is no delivery with this id")


def _shown(one: RunDelivery) -> ShownDelivery:
    return ShownDelivery(
        id=one.id,
        recipient=msgspec.json.decode(one.recipient, type=Recipient),
        status=msgspec.convert(one.status, Literal["waiting", "delivered", "dead", "cancelled"]),
        attempts=one.attempts,
        next_at=one.next_at if one.status == "waiting" else None,
        error=one.error,
        delivered_at=one.delivered_at,
        created_at=one.created_at,
    )


_TAGS = ("reports",)
ROUTES = [
    Route(
        "GET",
        PATH + "/{id}/deliveries",
        listed_deliveries,
        "To whom a report was handed over",
        answer=DeliveryList,
        tags=_TAGS,
        errors=(404,),
    ),
    Route(
        "POST",
        PATH + "/{id}/deliveries/{delivery}/retry",
        retried_delivery,
        "Try a dead delivery again",
        answer=DeliveryAnswer,
        tags=_TAGS,
        errors=(404, 409),
    ),
]
