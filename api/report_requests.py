"""What a report can be asked for: types, formats, days, and what narrows a P&L statement; for whom."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from aiohttp import web

from aggregators.definitions.trade import TRADE_PNL
from api import ranges
from api.auth.principal import Principal, caller
from api.errors import Problem
from api.services import services
from api.visibility import own_trades
from storage.feed import watermark
from storage.report_runs import ReportRequest

ReportKind = Literal["performance", "usage", "billing", "team", "pnl", "leaderboard", "operations"]
ReportFormat = Literal["json", "pdf", "excel"]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=10)]

MOST_DAYS = 3_700
OF_EVERYBODY = ("usage", "billing")
"""Types that count everybody's trades: a member, who sees their own, gets none of them."""

_AMOUNTS = Decimal("1e18")


class EnterpriseReportQuery(msgspec.Struct, kw_only=True):
    """`organization_id`: the caller's, or another one that they may act for. `date_range`: first and last day, as 2026-01-01,2026-03-31;
    the last 30 days by default. `tz`: whose days; by default the organization's. `wait`: seconds to wait for it, at most 10.
    """

    organization_id: str | None = None
    report_type: ReportKind
    format: ReportFormat = "json"
    date_range: str | None = None
    tz: str | None = None
    wait: Seconds = 10


Filters = dict[str, Annotated[list[Name], msgspec.Meta(min_length=1, max_length=100)]]
Equity = Annotated[dict[str, Decimal], msgspec.Meta(max_length=12)]
Appendix = Annotated[int, msgspec.Meta(ge=0, le=100_000)]


class NewReport(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A report to make, of the days `from` to `to`, both in it; the last 30 days by default.

    Of a P&L statement only: `filters` by keys of trades, `starting_equity` by currency, `appendix`: how many trades are listed.
    """

    type: ReportKind
    format: ReportFormat = "json"
    first: str | None = msgspec.field(name="from", default=None)
    last: str | None = msgspec.field(name="to", default=None)
    tz: Name | None = None
    filters: Filters = {}
    starting_equity: Equity = {}
    appendix: Appendix | None = None


class ReportDays(msgspec.Struct):
    """The first and the last day, both in it, and whose days they are; null is the organization's zone."""

    first: dt.date = msgspec.field(name="from")
    last: dt.date = msgspec.field(name="to")
    tz: str | None = None


class StoredParameters(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The same as the jobs read it."""

    first: dt.date
    last: dt.date
    tz: str | None = None
    filters: Mapping[str, list[str]] = {}
    starting_equity: Mapping[str, Decimal] = {}
    appendix: int = 1_000


def requester(principal: Principal) -> str:
    """A name for whoever asks: what they asked for once they are not made twice."""
    return f"account:{principal.account}" if principal.account is not None else f"key:{principal.key}"


def sees_only(principal: Principal) -> str | None:
    """Whose runs alone the caller may see: a member's own; None where all of the organization's."""
    return requester(principal) if principal.role == "member" else None


async def checked_request(
    request: web.Request, asked: NewReport, *, named: tuple[str, str], wrong: int
) -> ReportRequest:
    """The request as it is stored. `named`: what the parameters of the two days are called; `wrong` is the status of a bad one.

    Raises Problem, 403 for what a member may not see.
    """
    principal, parts = caller(request), services(request)
    own = own_trades(principal)
    check_narrowing(asked.type, asked.filters, asked.starting_equity, asked.appendix, own=own, wrong=wrong)
    now = parts.now()
    try:
        first, last = await _days(request, asked, named, now)
    except Problem as problem:
        raise Problem(wrong, problem.detail, parameter=problem.parameter) from None
    parameters = StoredParameters(
        first=first,
        last=last,
        tz=asked.tz,
        filters=asked.filters,
        starting_equity=asked.starting_equity,
        appendix=1_000 if asked.appendix is None else asked.appendix,
    )
    stored = msgspec.json.encode(parameters, order="deterministic")
    minute = now.astimezone(dt.UTC).strftime("%Y%m%dT%H%M")
    same = [asked.type, asked.format, requester(principal), own, minute]
    return ReportRequest(
        type=asked.type,
        parameters=stored.decode(),
        own=None if own is None else list(own),
        format=asked.format,
        requested_by=requester(principal),
        digest=hashlib.sha256(msgspec.json.encode(same) + stored).digest(),
    )


def check_narrowing(
    kind: ReportKind,
    filters: Mapping[str, list[str]],
    starting_equity: Mapping[str, Decimal],
    appendix: int | None,
    *,
    own: Collection[str] | None,
    wrong: int,
) -> None:
    """What narrows a report, for somebody who may see the trades of their `own` names alone (None: all).

    Raises Problem, 403 for what they may not see, `wrong` for what there is not.
    """
    if own is not None and kind in OF_EVERYBODY:
        raise Problem(403, f"a {kind} report counts everybody's trades; members see their own")
    if kind != "pnl" and (filters or starting_equity or appendix is not None):
        raise Problem(wrong, "type: only a pnl report has filters, starting_equity and appendix", parameter="type")
    if not set(filters) <= set(TRADE_PNL.keys):
        raise Problem(wrong, f"filters: expected {', '.join(TRADE_PNL.keys)}", parameter="filters")
    if own is not None and not set(filters.get("user_id", own)) <= set(own):
        raise Problem(403, "filters: members see their own trades", parameter="filters")
    if any("\x00" in one for values in filters.values() for one in values):
        raise Problem(wrong, "filters: holds a NUL character", parameter="filters")
    for currency, amount in starting_equity.items():
        if not (currency.isalnum() and len(currency) <= 16 and amount.is_finite() and 0 <= amount <= _AMOUNTS):
            detail = "starting_equity: expected currencies with amounts from 0 to 1e18"
            raise Problem(wrong, detail, parameter="starting_equity")


async def _days(
    request: web.Request, asked: NewReport, named: tuple[str, str], now: dt.datetime
) -> tuple[dt.date, dt.date]:
    """The days that are asked for. Raises Problem 400."""
    async with services(request).database.read(caller(request).organization) as connection:
        zone = (await watermark(connection)).time_zone
    tz = ranges.asked_zone(asked.tz, zone)
    last = now.astimezone(tz).date() if asked.last is None else ranges.day(asked.last, named[1])
    first = last - dt.timedelta(days=29) if asked.first is None else ranges.day(asked.first, named[0])
    if first > last:
        raise Problem(400, f"{named[0]}: the first day lies after the last", parameter=named[0])
    if (last - first).days >= MOST_DAYS:
        raise Problem(400, f"{named[0]}: a report has at most {MOST_DAYS:,} days", parameter=named[0])
    return first, last
