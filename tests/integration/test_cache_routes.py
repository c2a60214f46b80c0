"""`/cache/metrics` and `/cache/invalidate`: their shapes, who may, and what is forgotten."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from api.auth.tokens import OwnTokens
from storage import identity
from tests.integration.api_service import SECRET, Api, another, utc_now
from tests.integration.kept_answers import STATS, cache_of, confirmed, member, misses


class Rates(msgspec.Struct, forbid_unknown_fields=True):
    hits: int
    misses: int
    hit_rate: float | None


class Memory(Rates, forbid_unknown_fields=True):
    entries: int
    bytes: int
    evictions: int


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """OpsSight's shape of `/cache/metrics`."""

    memory: Memory
    redis: dict[str, Any] | None
    overall: Rates
    invalidations: int
    as_of: datetime


async def figures(api: Api) -> Document:
    reply = await api.get("/cache/metrics")
    assert reply.status == 200
    return msgspec.json.decode(reply.body, type=Document)


async def test_the_figures_are_those_of_the_cache(api: Api) -> None:
    before = await figures(api)
    assert (before.memory.hit_rate, before.overall.hit_rate, before.redis) == (None, None, None)
    await confirmed(api)
    for _ in range(4):
        await api.get(STATS)
    found = await figures(api)
    assert (found.memory.hits, found.memory.misses, found.memory.hit_rate) == (3, 1, 75.0)
    assert (found.overall.hits, found.overall.misses, found.overall.hit_rate) == (3, 1, 75.0)
    assert (found.memory.entries, found.memory.evictions, found.invalidations) == (1, 0, 0)
    assert found.memory.bytes > len((await api.get(STATS)).body)
    await api.send([api.system("web", cpu_usage=1)])
    found = await figures(api)
    assert (found.memory.entries, found.invalidations) == (0, 1)
    families = text_string_to_metric_families((await api.get("/metrics")).text)
    samples = {(s.name, s.labels.get("from")): s.value for family in families for s in family.samples}
    assert samples["streamgauge_cache_answers_total", "memory"] == cache_of(api).hits
    assert samples["streamgauge_cache_answers_total", "database"] == cache_of(api).misses
    assert samples["streamgauge_cache_invalidations_total", None] == 1


async def test_the_figures_are_as_open_as_the_operations_are(api: Api) -> None:
    async with api.session.get(f"{api.url}/cache/metrics") as answer:
        assert answer.status == 200
    object.__setattr__(api.services, "public_operations", False)
    async with api.session.get(f"{api.url}/cache/metrics") as answer:
        assert answer.status == 401
    assert (await api.get("/cache/metrics")).status == 200


async def invalidate(api: Api, headers: dict[str, str] | None = None, body: Any = None, query: str = "") -> Any:
    options = {} if body is None else {"json": body}
    return await api.request("POST", f"/cache/invalidate{query}", headers=headers, **options)


async def test_an_organization_forgets_its_own_answers_only(api: Api) -> None:
    await confirmed(api)
    async with another(api, "Rival") as rival:
        for one in (api, rival):
            for path in (STATS, "/users/top", "/api/v1/query?rollup=trade_pnl"):
                await one.request("GET", path)
        for query, body, dropped in (
            ("?pattern=/users/*", None, 1),
            ("", {"pattern": "/api/v1/query"}, 1),
            ("", {"pattern": "/nothing"}, 0),
            ("", {}, 1),
            ("", None, 0),
        ):
            reply = await invalidate(api, None, body, query)
            assert (reply.status, reply.json) == (200, {"invalidated": dropped})
        assert await misses(rival, partial(rival.get, STATS), partial(rival.get, "/users/top")) == 0
        assert await misses(api, partial(api.get, STATS)) == 1


async def test_who_may_and_what_is_refused(api: Api) -> None:
    await confirmed(api)
    _, member_headers = await member(api, "member")
    _, owner_headers = await member(api, "owner")
    root = await identity.create_account(
        api.services.database, f"root-{api.organization}@example.com", "hash", deployment_admin=True
    )
    await identity.create_membership(api.services.database, root, UUID(str(api.organization)), "member")
    admin = {"Authorization": f"Bearer {OwnTokens(SECRET).issue(root, now=utc_now())}"}
    async with another(api, "Rival") as rival:
        await rival.get(STATS)
        await api.get(STATS)
        assert (await invalidate(api, member_headers)).status == 403
        for headers in (None, owner_headers):
            assert (await invalidate(api, headers, {"everybody": True})).status == 403
        assert (await invalidate(api, owner_headers, {})).json == {"invalidated": 1}
        await api.get(STATS)
        assert (await invalidate(api, admin, {"everybody": True})).json == {"invalidated": 2}
    async with api.session.post(f"{api.url}/cache/invalidate") as answer:
        assert answer.status == 401
    for body in ({"pattern": ""}, {"pattern": 5}, {"other": 1}, [1]):
        assert (await invalidate(api, None, body)).status == 400
    reply = await api.request("POST", "/cache/invalidate", data=b"{")
    assert (reply.status, reply.json["parameter"]) == (400, "body")
