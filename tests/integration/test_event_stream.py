"""Event streams: every event exactly once in feed order, across reconnections and restarts, or a `reset` that says so."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

import pytest

from api.auth.keys import mint
from api.auth.tokens import OwnTokens
from api.stream import tail as tail_module
from api.stream.cursor import encode_cursor
from storage import identity
from storage.feed import reach
from storage.retention import prune_feed
from tests.integration.api_service import NOON, SECRET, Api, another, running, until, utc_now


async def feed_order(api: Api) -> list[str]:
    """The ids of all events of the organization as the feed has them."""
    async with api.services.database.owner() as connection:
        cursor = await connection.execute(
            "select e.id from store.feed f join store.event_system e using (organization, batch)"
            " where f.kind = 'system' and f.organization = %s order by f.position, e.item",
            (api.organization,),
        )
        return [row[0] for row in await cursor.fetchall()]


async def test_an_event_comes_as_it_was_sent(api: Api) -> None:
    sent = [
        api.system("<b>&\u2028", cpu_usage=0.5, queue_length=3),
        api.enterprise(revenue_generated=12.25, team="ml"),
        api.trade(NOON, "123456789012345678.123456789012345678", strategy="a\nb"),
        api.view("complete", watch_ms=1_500),
        {**api.system("numbered", x=1), "sequence": "7"},
    ]
    async with api.stream(mode="events") as stream:
        await stream.placed()
        for event in sent:
            await api.send([event])
            name, got = await stream.next() or ("", {})
            assert name == "event"
            assert {key: got[key] for key in ("specversion", "id", "source", "type")} == {
                key: event[key] for key in ("specversion", "id", "source", "type")
            }
            assert got.get("sequence") == event.get("sequence")
            rewritten = ("pnl", "metrics", "opened_at", "closed_at")
            assert got["data"].items() >= {k: v for k, v in event["data"].items() if k not in rewritten}.items()


async def test_amounts_in_events_keep_every_digit(api: Api) -> None:
    amount = "123456789012345678.123456789012345678"
    async with api.stream(mode="events", type="trade") as stream:
        await stream.placed()
        await api.send([api.trade(NOON, amount, fees="0.000000000000000001")])
        while not (line := await asyncio.wait_for(stream.answer.content.readline(), 10)).startswith(b"data: "):
            assert line
        assert f'"pnl":{amount}' in line.decode()
        assert json.loads(line[6:])["data"]["fees"] == 1e-18


async def test_every_event_comes_once_in_feed_order_whatever_breaks(api: Api, service_database: str) -> None:
    """The reader drops its connection at random places; in the middle the whole service is started again."""
    chance = random.Random(3)
    async with api.stream(mode="events") as stream:
        await stream.placed()
        place = stream.last_event_id
    total, got = 900, list[str]()

    async def send(service: Api, number: int) -> None:
        while number:
            size = min(number, chance.randrange(1, 40))
            await service.send(
                [service.system("a", NOON - timedelta(minutes=chance.randrange(9_999)), x=1) for _ in range(size)]
            )
            number -= size

    async def read(service: Api, until_total: int) -> None:
        nonlocal place
        while len(got) < until_total:
            how: dict[str, Any] = (
                {"last_event_id": place} if chance.random() < 0.5 else {"headers": {"Last-Event-ID": place}}
            )
            async with service.stream(mode="events", **how) as stream:
                got.extend(await stream.ids(min(chance.randrange(1, 90), until_total - len(got))))
                place = stream.last_event_id

    await asyncio.gather(send(api, total // 2), read(api, total // 2 - 50))
    async with running(service_database, known=api) as again:
        await asyncio.gather(send(again, total // 2), read(again, total))
        assert got == await feed_order(again)
    assert len(set(got)) == total


async def test_a_group_larger_than_the_memory_of_the_tail_comes_whole(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "TAIL_EVENTS", 100)
    async with api.stream(mode="events") as one, api.stream(mode="events") as two:
        await one.placed()
        await two.placed()
        for _ in range(3):
            sent = [api.system("a", x=1) for _ in range(1_500)]
            await api.send(sent)
            for stream in (one, two):
                assert await stream.ids(1_500) == [event["id"] for event in sent]


async def test_a_reader_that_is_too_slow_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "TAIL_EVENTS", 100)
    long = "x" * 250
    async with api.stream(mode="events", type="trade", narrow=True) as slow, api.stream(mode="events") as fast:
        await slow.placed()
        await fast.placed()
        # More than the narrow connection's buffers hold: the slow reader's stream stands still in the middle of a write.
        await api.send(
            [api.trade(NOON, "1", user_id=long, broker=long, symbol=long, strategy=long) for _ in range(5_000)]
        )
        await fast.ids(5_000)
        sent = 5_000
        for _ in range(4):
            await api.send([api.trade(NOON, "1") for _ in range(150)])
            await fast.ids(150)
            sent += 150
        got = 0
        while (event := await slow.next()) is not None and event[0] == "event":
            got += 1
        assert event is not None
        assert (event[0], event[1]["reason"], set(event[1])) == ("reset", "reader too slow", {"reason", "as_of"})
        assert 0 < got < sent
        last = api.trade(NOON, "1")
        await api.send([last])
        assert await slow.ids(1) == [last["id"]]
    metrics = (await api.get("/metrics")).text
    assert 'streamgauge_stream_resets_total{reason="reader too slow"}' in metrics


async def test_a_cursor_that_cannot_be_continued_is_told(api: Api) -> None:
    async with api.stream(mode="events") as stream:
        await stream.placed()
        old = stream.last_event_id
        await api.send([api.system("a", x=1)])
        await stream.ids(1)
        partly = stream.last_event_id
    await api.send([api.system("a", x=2)])
    async with api.services.database.owner() as connection:
        await connection.execute("update store.feed set committed_at = committed_at - interval '3 days'")
    assert await prune_feed(api.services.database) >= 1
    # A stream begins behind what was heard of when it was opened.
    _, head = await reach(api.services.database)
    await until(lambda: api.services.hub.position >= head)

    for cursor, reason in (
        ("nonsense", "cursor unknown"),
        ("ü", "cursor unknown"),
        (encode_cursor((10**9, 0)), "cursor unknown"),
        (old, "cursor too old"),
        (partly, "cursor too old"),
    ):
        async with api.stream(mode="events", last_event_id=cursor) as stream:
            name, body = await stream.next() or ("", {})
            assert (name, body["reason"]) == ("reset", reason), cursor
            event = api.system("after", x=1)
            await api.send([event])
            assert await stream.ids(1) == [event["id"]]


async def test_a_cursor_ahead_of_what_this_process_has_heard_is_good(api: Api) -> None:
    """Another process told it; this one's listener has not heard of the commit yet."""
    async with api.stream(mode="events") as stream:
        await stream.placed()
        await api.send([api.system("a", x=1)])
        await stream.ids(1)
        place = stream.last_event_id
    api.services.hub._listener.position -= 1
    async with api.stream(mode="events", last_event_id=place) as stream:
        event = api.system("a", x=2)
        await api.send([event])
        assert await stream.ids(1) == [event["id"]]


async def test_filters_by_kind_and_by_fields(api: Api) -> None:
    wanted = [api.trade(NOON, "1", symbol=symbol, user_id="a:b") for symbol in ("x,y", "z")]
    others = [api.trade(NOON, "1", symbol="y", user_id="a:b"), api.trade(NOON, "1", symbol="z"), api.system("z", x=1)]
    async with (
        api.stream(mode="events", type="trade", filter="symbol:x\\,y,z") as by_symbol,
        api.stream(mode="events", filter="user_id:a:b") as by_user,
        api.stream(mode="events", filter="strategy:") as without,
    ):
        for stream in (by_symbol, by_user, without):
            await stream.placed()
        await api.send([*others, *wanted])
        await api.send([api.trade(NOON, "1", symbol="z", user_id="a:b", strategy="s")])
        assert await by_symbol.ids(3) == [others[1]["id"], wanted[0]["id"], wanted[1]["id"]]
        assert await by_user.ids(3) == [others[0]["id"], wanted[0]["id"], wanted[1]["id"]]
        assert set(await without.ids(5)) == {event["id"] for event in (*others, *wanted)}


async def test_a_stream_ends_when_its_credential_does(api: Api) -> None:
    account = await identity.create_account(api.services.database, "ada@example.com", "hash")
    await identity.create_membership(api.services.database, account, api.organization, "owner")
    api.clock.now = utc_now()
    token = OwnTokens(SECRET).issue(account, now=api.clock.now)
    key = mint()
    made = await identity.create_api_key(
        api.services.database, api.organization, "gone", prefix=key.prefix, key_digest=key.digest, scopes=["read"]
    )
    for asked in ({"mode": "events"}, {"rollup": "system_metrics"}):
        api.clock.now = utc_now()
        async with api.stream(headers={"Authorization": f"Bearer {token}"}, **asked) as expiring:
            assert await expiring.opened()
            api.clock.now += timedelta(minutes=31)
            while (event := await expiring.next(5)) is not None:
                assert event[0] == "state"
    async with api.stream(mode="events", headers={"Authorization": f"Bearer {key.text}"}) as revoked:
        await revoked.placed()
        async with api.services.database.owner() as connection:
            await connection.execute("update store.api_key set revoked_at = now() where id = %s", (made,))
        assert await revoked.next(5) is None


async def test_organizations_are_separate(api: Api) -> None:
    async with another(api, "Other") as other, other.stream(mode="events") as theirs, api.stream(mode="events") as ours:
        await theirs.placed()
        await ours.placed()
        one, two = api.system("ours", x=1), {**other.system("theirs", x=1), "id": "of the other"}
        await api.send([one])
        await other.send([two])
        assert await ours.ids(1) == [one["id"]]
        assert await theirs.ids(1) == ["of the other"]
        place = ours.last_event_id
        three = {**other.system("theirs", x=1), "id": "of the other, too"}
        await other.send([three])
        assert await theirs.ids(1) == [three["id"]]
    # A place in the feed is no key: with ours, they still see only their own.
    async with other.stream(mode="events", last_event_id=place) as theirs:
        assert await theirs.ids(2) == [two["id"], three["id"]]
