"""The latest trades themselves, a page at a time, as an answer lists them."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from typing import Any

import msgspec

from api.errors import Problem
from api.trades.parameters import Filters, Period
from storage.archive import Archive
from storage.database import AsyncConn
from storage.recent_trades import Place, recent_trades
from storage.rollup_query import exact_sum

MAX_RECENT = 200


class ClosedTrade(msgspec.Struct, rename="camel"):
    """One closed trade. `pnl` is before fees, `net` after; prices and amounts are in `currency`, times in the asked zone."""

    id: str
    user_id: str
    broker: str
    symbol: str
    strategy: str | None
    side: str
    quantity: Any
    entry_price: Any
    exit_price: Any
    pnl: Any
    fees: Any
    net: Any
    currency: str
    opened_at: str
    closed_at: str


class RecentList(msgspec.Struct):
    """The latest trades first. `cursor` continues with older ones, null at the end.

    `archived`: older trades of the range count in the figures, but their events are no longer kept one by one.
    """

    items: list[ClosedTrade]
    cursor: str | None
    archived: bool


async def recent_list(
    connection: AsyncConn,
    period: Period,
    filters: Filters,
    limit: int,
    cursor: str | None,
    archive: Archive | None,
) -> RecentList:
    """A page of the latest trades of a range inside a read transaction. Raises Problem 400."""
    before = _place(cursor) if cursor is not None else None
    found = await recent_trades(connection, period.start, period.end, filters, limit, before, archive=archive)
    return RecentList(
        [_trade(row, period) for row in found.rows],
        _cursor(found.next) if found.next is not None else None,
        found.archived,
    )


def _trade(row: dict[str, Any], period: Period) -> ClosedTrade:
    return ClosedTrade(
        id=row["trade_id"],
        user_id=row["user_id"],
        broker=row["broker"],
        symbol=row["symbol"],
        strategy=row["strategy"] or None,
        side=row["side"],
        quantity=row["quantity"],
        entry_price=row["entry_price"],
        exit_price=row["exit_price"],
        pnl=row["pnl"],
        fees=row["fees"],
        net=exact_sum((row["pnl"], -row["fees"])),
        currency=row["currency"],
        opened_at=row["opened_at"].astimezone(period.tz).isoformat(),
        closed_at=row["time"].astimezone(period.tz).isoformat(),
    )


def _cursor(place: Place) -> str:
    texts = [place[0].astimezone(dt.UTC).isoformat(), *place[1:]]
    return base64.urlsafe_b64encode(msgspec.json.encode(texts)).decode()


def _place(cursor: str) -> Place:
    """The place behind which a cursor continues; raises Problem 400."""
    try:
        time, source, id_ = msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode()), type=tuple[str, str, str])
        moment = dt.datetime.fromisoformat(time)
        if moment.tzinfo is None or "\0" in source + id_ or not 1990 <= moment.year < 2200:
            raise ValueError("no place in a list of trades")
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise Problem(400, "cursor: is none that this service gave", parameter="cursor") from None
    return moment, source, id_
