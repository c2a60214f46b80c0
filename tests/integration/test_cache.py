"""Kept answers: whose they are, what drops them, and how fresh they say they are."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from storage import identity
from storage.feed import reach
from storage.leaderboard import refresh_standings
from tests.integration.api_service import Api, Clock, Reply, another, running, until, utc_now
from tests.integration.kept_answers import STATS, cache_of, confirmed, cpu, member, misses, send


class RealClock(Clock):
    """The wall clock."""

    def __getattribute__(self, name: str) -> Any:
        return utc_now() if name == "now" else super().__getattribute__(name)


async def test_nobody_is_given_what_was_kept_for_somebody_else(api: Api) -> None:
    await confirmed(api)
    api.clock.now = utc_now()
    closed = api.clock.now - timedelta(minutes=1)
    people = [await member(api, role) for role in ("member", "member", "owner")]
    (first, first_headers), (second, second_headers), (_, owner_headers) = people
    await api.send(
        [
            api.trade(closed, "1", user_id=first),
            api.trade(closed, "10", user_id=second),
            api.trade(closed, "100", user_id="somebody"),
        ]
    )
    async with another(api, "Rival") as rival:
        await rival.send([rival.trade(closed, "1000", user_id=first)])
        expected = [
            (first_headers, 1),
            (second_headers, 10),
            (owner_headers, 111),
            (api.headers, 111),
            (rival.headers, 1000),
        ]
        # Somebody of both organizations sees the one that is asked for.
        account, both = await member(api, "owner")
        await identity.create_membership(api.services.database, UUID(account), rival.organization, "owner")
        expected += [
            ({**both, "X-Organization-ID": str(api.organization)}, 111),
            ({**both, "X-Organization-ID": str(rival.organization)}, 1000),
        ]

        async def net(headers: dict[str, str]) -> Any:
            sent = {"X-Organization-ID": headers["X-Organization-ID"]} if "X-Organization-ID" in headers else {}
            async with api.session.get(
                f"{api.url}/api/v1/query?rollup=trade_pnl&measures=net",
                headers={"Authorization": headers["Authorization"], **sent},
            ) as answer:
                return (await answer.json())["rows"][0][0]

        before = cache_of(api).hits
        for _ in range(3):
            assert [await net(headers) for headers, _ in expected] == [figure for _, figure in expected]
        assert cache_of(api).hits - before >= 2 * len(expected)
        # What only an owner may ask is not given to a member because an owner asked it.
        owners = {"rollup": "trade_pnl", "measures": "net", "filter": "user_id:somebody"}
        assert (await api.get("/api/v1/query", headers=owner_headers, **owners)).rows == [[100]]
        assert (await api.get("/api/v1/query", headers=first_headers, **owners)).status == 403


async def test_the_same_question_is_read_once(api: Api) -> None:
    await confirmed(api)
    await send(api, api.system("web", cpu_usage=5), api.view("like"))
    paths = (
        STATS,
        "/api/v1/query?rollup=system_metrics&group_by=host",
        "/api/unify/v1/metrics",
        "/api/unify/v1/reports/pnl?from=2026-03-01&to=2026-03-02",
        "/users/top",
    )
    for path in paths:
        first = await api.request("GET", path)
        assert await misses(api, *[partial(api.request, "GET", path)] * 3) == 0, path
        assert (await api.request("GET", path)).body == first.body
    # Parameters in another order ask the same; another representation does not.
    assert await misses(api, partial(api.request, "GET", "/api/v1/query?group_by=host&rollup=system_metrics")) == 0
    csv = await api.request("GET", paths[1], headers={"Accept": "text/csv"})
    assert csv.headers["Content-Type"].startswith("text/csv")
    assert (await api.request("GET", paths[1])).headers["Content-Type"].startswith("application/json")
    for wrong in ("&group_by=nothing", "&filter=x"):
        assert (await api.request("GET", paths[1] + wrong)).status == 400
        assert (await api.request("GET", paths[1] + wrong)).status == 400
    assert (await api.request("GET", paths[1], headers={"Accept": "image/png"})).status == 406


async def test_whoever_was_told_that_an_event_is_accepted_reads_it(api: Api) -> None:
    await confirmed(api)
    for figure in range(20):
        time_ = api.clock.now + timedelta(milliseconds=figure)
        await api.send([api.system("web", time_, cpu_usage=figure)])
        assert await cpu(api) == figure
        assert await cpu(api) == figure


async def test_an_event_of_another_kind_or_organization_changes_nothing(api: Api) -> None:
    await confirmed(api)
    await cpu(api)
    async with another(api, "Rival") as rival:
        await send(api, api.trade(api.clock.now, "1"))
        await send(rival, rival.system("web", cpu_usage=1))
        assert await misses(api, partial(cpu, api)) == 0
        assert await cpu(api) is None


async def test_commits_of_other_processes_are_heard_and_no_answer_says_it_is_fresher_than_it_is(
    service_database: str,
) -> None:
    async with (
        running(service_database, clock=RealClock()) as api,
        running(service_database, known=api) as other,
    ):
        await confirmed(api)
        for figure in range(20):
            await cpu(api)
            await other.send([other.system("web", cpu_usage=figure)])
            accepted = utc_now()
            async with asyncio.timeout(10):
                while True:
                    reply = await api.get(STATS)
                    if reply.json["systemMetrics"]["cpuUsage"] == figure:
                        break
                    assert datetime.fromisoformat(reply.headers["X-As-Of"]) <= accepted


async def test_what_is_known_is_answered_with_304_that_goes_on_telling_how_fresh_it_is(api: Api) -> None:
    await confirmed(api)
    api.clock.now = utc_now().replace(second=30, microsecond=0)
    await send(api, api.enterprise(green_score=5))
    first = await api.get(STATS)
    api.clock.now += timedelta(seconds=20)

    async def again() -> Reply:
        return await api.get(STATS, headers={"If-None-Match": first.headers["ETag"]})

    before = cache_of(api).misses
    async with asyncio.timeout(10):
        while datetime.fromisoformat((await again()).headers["X-As-Of"]) < api.clock.now:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    reply = await again()
    assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert "Content-Type" not in reply.headers
    assert cache_of(api).misses == before
    await api.send([api.enterprise(api.clock.now, green_score=6)])
    reply = await again()
    assert (reply.status, reply.json["sustainability"]["greenScore"]) == (200, 6)


async def test_a_window_that_moves_on_is_read_again(api: Api) -> None:
    await confirmed(api)
    start = api.clock.now
    await send(api, api.system("web", start - timedelta(minutes=4, seconds=50), cpu_usage=5))
    assert await cpu(api) == 5
    api.clock.now = start + timedelta(seconds=9.9)
    assert await misses(api, partial(cpu, api)) == 0
    api.clock.now = start + timedelta(seconds=10, microseconds=1)
    assert await cpu(api) is None

    # `to` is the end of the minute, in which nothing moves.
    api.clock.now = start
    question = partial(api.query, "system_metrics", measures="count")
    last = (await question()).json["to"]
    api.clock.now = start + timedelta(seconds=29)
    assert await misses(api, question) == 0
    api.clock.now = start + timedelta(seconds=31)
    moved = (await question()).json["to"]
    assert datetime.fromisoformat(moved) - datetime.fromisoformat(last) == timedelta(minutes=1)
    # A clock that is set back makes a kept answer none for that time.
    api.clock.now = start
    assert (await question()).json["to"] == last


async def test_a_board_that_is_behind_is_not_kept_until_the_next_commit(database_url: str) -> None:
    async with running(database_url, refreshing=False) as api:
        await confirmed(api)
        await refresh_standings(api.services.database, interval_s=0)
        await api.send([api.view("like")], wait=False)
        _, head = await reach(api.services.database)
        await until(lambda: api.services.hub.position >= head)
        behind = await api.request("GET", "/users/top")
        assert behind.json == []
        assert await misses(api, partial(api.request, "GET", "/users/top")) == 0
        await refresh_standings(api.services.database, interval_s=0)
        api.clock.now += timedelta(seconds=0.5)
        assert len((await api.request("GET", "/users/top")).json) == 1
        # Now it holds everything: only another view changes it.
        api.clock.now += timedelta(seconds=20)
        assert await misses(api, partial(api.request, "GET", "/users/top")) == 0
