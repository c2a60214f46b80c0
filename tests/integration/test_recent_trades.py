"""The latest trades: in order, page after page, each once; read from the quarters of an hour that hold them and from no others."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest

from storage import recent_trades as reading
from storage.recent_trades import compose_read
from tests.integration.api_service import NOON, Api, another
from tests.integration.stored import organizations

PATH = "/api/unify/v1/analytics/trades"


async def pages(api: Api, recent: int, **asked: Any) -> tuple[list[dict[str, Any]], int]:
    """Every trade that the pages list, and how many pages there were."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for number in range(1, 500):
        reply = await api.get(PATH, recent=recent, **asked, **cursor)
        assert reply.status == 200, reply.text
        part = reply.json["trades"]
        assert len(part["items"]) <= recent
        assert part["archived"] is False
        found += part["items"]
        if part["cursor"] is None:
            return found, number
        cursor = {"cursor": part["cursor"]}
    raise AssertionError("the pages have no end")


def scattered(api: Api, number: int, seed: int = 5) -> list[dict[str, Any]]:
    """Trades at some moments of ten days, several at the same one and from several sources."""
    rng = random.Random(seed)
    found = []
    for _ in range(number):
        day = timedelta(days=rng.randrange(10)) if rng.random() < 0.5 else timedelta(0)
        closed = NOON - day - timedelta(seconds=rng.choice([0, 1, 900, 901, 5_000, rng.randrange(40_000)]))
        event = api.trade(
            closed,
            str(rng.randrange(-50, 50)),
            user_id=rng.choice(["ann", "bob"]),
            fees="0.25",
            **({"strategy": "swing"} if rng.random() < 0.3 else {}),
        )
        found.append(event | {"source": rng.choice(["a", "b", "ä"])})
    return found


def latest_first(events: list[dict[str, Any]]) -> list[str]:
    """The trades' ids, the latest first; of one moment by source and id, as their bytes compare."""
    placed = sorted(
        ((datetime.fromisoformat(e["time"]), e["source"].encode(), e["id"].encode()), e["data"]["trade_id"])
        for e in events
    )
    return [trade for _, trade in reversed(placed)]


@pytest.mark.parametrize(("dense", "quarters"), [(10_000, 50), (3, 50), (3, 2)], ids=["sparse", "dense", "few at once"])
async def test_every_trade_comes_once_the_latest_first(
    api: Api, monkeypatch: pytest.MonkeyPatch, dense: int, quarters: int
) -> None:
    monkeypatch.setattr(reading, "DENSE", dense)
    monkeypatch.setattr(reading, "MAX_QUARTERS", quarters)
    events = scattered(api, 150)
    await api.send(events)
    async with another(api, "Other") as other:
        await other.send(scattered(other, 20))
    for recent in (7, 200):
        found, _ = await pages(api, recent, time_range="30d")
        assert [trade["id"] for trade in found] == latest_first(events)
    for asked, wanted in (
        ({"user_id": "bob"}, lambda data: data["user_id"] == "bob"),
        ({"strategy": "swing"}, lambda data: data.get("strategy") == "swing"),
        ({"strategy": "", "currency": "USD"}, lambda data: "strategy" not in data),
        ({"symbol": "nothing"}, lambda data: False),
    ):
        found, _ = await pages(api, 20, time_range="30d", **asked)
        assert [trade["id"] for trade in found] == latest_first([e for e in events if wanted(e["data"])])
    # Only the asked days, which are a zone's.
    zone = ZoneInfo("Asia/Kathmandu")
    found, number = await pages(api, 10, from_="2026-03-04", to="2026-03-09", tz=zone.key)
    inside = [e for e in events if 4 <= datetime.fromisoformat(e["time"]).astimezone(zone).day <= 9]
    assert [trade["id"] for trade in found] == latest_first(inside)
    assert number >= len(inside) // 10
    found, _ = await pages(api, 50, time_range="24h")
    day = [e for e in events if datetime.fromisoformat(e["time"]) > NOON - timedelta(days=1)]
    assert [trade["id"] for trade in found] == latest_first(day)


async def test_a_trade_as_it_is_listed(api: Api) -> None:
    await api.send(
        [
            api.trade(
                NOON,
                "-3.100000000000000001",
                fees="-0.5",
                quantity="0.10",
                entry_price="1.0841",
                exit_price="100",
                side="sell",
                strategy="swing",
                trade_id="t-1",
            )
        ]
    )
    reply = await api.get(PATH, recent=1, tz="Asia/Kathmandu")
    assert reply.json["trades"] == {
        "items": [
            {
                "id": "t-1",
                "userId": "ann",
                "broker": "broker",
                "symbol": "EURUSD",
                "strategy": "swing",
                "side": "sell",
                "quantity": Decimal("0.1"),
                "entryPrice": Decimal("1.0841"),
                "exitPrice": 100,
                "pnl": Decimal("-3.100000000000000001"),
                "fees": Decimal("-0.5"),
                "net": Decimal("-2.600000000000000001"),
                "currency": "USD",
                "openedAt": "2026-03-10T16:45:00+05:45",
                "closedAt": "2026-03-10T17:45:00+05:45",
            }
        ],
        "cursor": None,
        "archived": False,
    }
    assert (await api.get(PATH)).json["trades"] is None


async def test_a_trade_that_comes_between_two_pages_moves_nothing(api: Api) -> None:
    await api.send([api.trade(NOON - timedelta(minutes=n), "1") for n in range(6)])
    first = (await api.get(PATH, recent=3)).json["trades"]
    await api.send([api.trade(NOON, "1"), api.trade(NOON - timedelta(seconds=30), "1")])
    second = (await api.get(PATH, recent=3, cursor=first["cursor"])).json["trades"]
    times = [trade["closedAt"] for trade in (*first["items"], *second["items"])]
    assert times == [(NOON - timedelta(minutes=n)).isoformat() for n in range(6)]
    assert second["cursor"] is None


async def test_trades_whose_events_are_gone_are_told_of(api: Api, service_database: str) -> None:
    await api.send([api.trade(NOON - timedelta(days=n), "1") for n in range(6)])
    with psycopg.connect(service_database, autocommit=True) as connection:
        connection.execute(
            "delete from store.event_trade where organization = %s and time < %s",
            (api.organization, NOON - timedelta(days=2, hours=1)),
        )
    for asked in ({"recent": 50}, {"recent": 2}):
        part = (await api.get(PATH, **asked)).json
        assert part["total"]["totalTrades"] == 6
        while part["trades"]["cursor"]:
            part = (await api.get(PATH, **asked, cursor=part["trades"]["cursor"])).json
        assert part["trades"]["archived"] is True
        assert part["trades"]["items"][-1]["closedAt"] == (NOON - timedelta(days=2)).isoformat()
    # A range that the table still has is not called archived.
    assert (await api.get(PATH, recent=50, from_="2026-03-08")).json["trades"]["archived"] is False


QUARTER = timedelta(minutes=15)
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def fill(url: str, owner: UUID, days: int, a_day: int) -> None:
    """Raw trades one after the other over so many days, and vacuumed as a server that runs would have them."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "insert into store.event_trade select %s, %s + n * make_interval(secs => %s), 'source', 'id-' || n, null, 't-' || n,"
            " 'user-' || n %% 50, 'broker', 'EURUSD', null, 'buy', 1, 1, 1, 0, 1, 'USD', %s, 1, n from generate_series(0, %s) as n",
            (owner, FIRST, 86_400 / a_day, FIRST, days * a_day - 1),
        )
        connection.execute("vacuum analyze store.event_trade")


def plan(url: str, owner: UUID, *, before: Any = None) -> str:
    """How the latest trades of three quarters far apart are read."""
    ranges = [(FIRST + timedelta(days=n), FIRST + timedelta(days=n) + QUARTER) for n in (15, 9, 2)]
    text, parameters = compose_read(ranges, {"user_id": ("user-7",)}, 21, before)
    with psycopg.connect(url) as connection:
        connection.execute("set local role streamgauge_api")
        connection.execute("select set_config('app.organization', %s, true)", (str(owner),))
        explained = connection.execute(
            psycopg.sql.SQL("explain (analyze, timing off, summary off) ") + text, parameters
        ).fetchall()
    return "\n".join(line for (line,) in explained)


def test_only_the_blocks_of_the_asked_quarters_are_read(database_url: str) -> None:
    (owner,) = organizations(database_url, 1)
    fill(database_url, owner, days=20, a_day=5_000)
    for before in (None, (FIRST + timedelta(days=15, minutes=5), "source", "id-9")):
        found = plan(database_url, owner, before=before)
        assert found.count("Bitmap Index Scan on event_trade_time_batch_idx") == 3, found
        assert "Seq Scan" not in found, found
