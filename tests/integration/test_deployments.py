"""`/api/v1/deployments`: recorded, changed, listed by page and filter; told of in the transaction, and nobody else's."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from api.auth.keys import mint
from api.auth.tokens import OwnTokens
from storage import identity
from storage.deployments import newest_deployments
from storage.notices import DEPLOYMENTS
from tests.integration.api_service import NOON, SECRET, Api, Reply, another, utc_now

PATH = "/api/v1/deployments"
SHAPE = {"id", "service", "version", "environment", "status", "started_at", "finished_at"}


async def record(api: Api, **fields: Any) -> Reply:
    given = {"service": "web", "version": "1.2.3", "environment": "production", **fields}
    return await api.request("POST", PATH, json={name: value for name, value in given.items() if value is not ...})


async def made(api: Api, **fields: Any) -> dict[str, Any]:
    reply = await record(api, **fields)
    assert reply.status == 201, reply.text
    found: dict[str, Any] = reply.json
    assert set(found) == SHAPE
    assert reply.headers["Location"] == f"{PATH}/{found['id']}"
    return found


async def change(api: Api, id_: str, **fields: Any) -> Reply:
    return await api.request("PATCH", f"{PATH}/{id_}", json=fields)


async def listed(api: Api, **parameters: Any) -> dict[str, Any]:
    reply = await api.get(PATH, **parameters)
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    assert set(found) == {"deployments", "total", "page", "limit"}
    assert all(set(one) == SHAPE for one in found["deployments"])
    return found


async def test_one_is_recorded_runs_and_ends(api: Api) -> None:
    assert await listed(api) == {"deployments": [], "total": 0, "page": 1, "limit": 10}
    first = await made(api)
    now = api.clock.now
    assert (first["status"], first["finished_at"]) == ("pending", None)
    assert datetime.fromisoformat(first["started_at"]) == now
    assert (await listed(api))["deployments"] == [first]
    running = await change(api, first["id"], status="running")
    assert (running.status, running.json) == (200, {**first, "status": "running"})
    api.clock.now += timedelta(minutes=3)
    done = (await change(api, first["id"], status="succeeded")).json
    assert datetime.fromisoformat(done["finished_at"]) == api.clock.now
    assert (await change(api, first["id"], status="succeeded")).json == done
    api.clock.now += timedelta(hours=1)
    back = await change(api, first["id"], status="rolled_back", finished_at=(NOON + timedelta(minutes=30)).isoformat())
    assert datetime.fromisoformat(back.json["finished_at"]) == NOON + timedelta(minutes=30)
    assert (await listed(api))["deployments"] == [back.json]


async def test_one_that_is_over_may_be_recorded_at_once(api: Api) -> None:
    found = await made(api, status="failed", started_at="2026-03-10T09:00:00+01:00", finished_at="2026-03-10T08:05:00Z")
    assert datetime.fromisoformat(found["started_at"]) == NOON - timedelta(hours=4)
    found = await made(api, status="succeeded")
    assert found["started_at"] == found["finished_at"]


async def test_the_same_id_again_is_the_same_deployment(api: Api) -> None:
    own = str(uuid4())
    first = await made(api, id=own)
    again = await record(api, id=own, version="9")
    assert (first["id"], again.status, again.json) == (own, 200, first)
    async with another(api, "Other") as other:
        assert (await made(other, id=own))["id"] == own
    assert (await listed(api))["total"] == 1


async def test_what_is_wrong_is_named(api: Api) -> None:
    text = "x" * 201
    for fields, status, wrong in (
        ({"service": ...}, 422, "service"),
        ({"service": ""}, 422, "service"),
        ({"service": text}, 422, "service"),
        ({"version": text}, 422, "version"),
        ({"environment": 5}, 422, "environment"),
        ({"environment": "a\0b"}, 422, "environment"),
        ({"status": "done"}, 422, "status"),
        ({"started_at": "yesterday"}, 422, "started_at"),
        ({"started_at": "2026-03-10T12:00:00"}, 422, "started_at"),
        ({"started_at": "1999-01-01T00:00:00Z"}, 422, "started_at"),
        ({"started_at": "2026-03-11T00:00:00Z"}, 422, "started_at"),
        ({"finished_at": "2026-03-10T12:00:00Z"}, 422, "finished_at"),
        ({"status": "failed", "finished_at": "2026-03-10T11:00:00Z"}, 422, "finished_at"),
        ({"id": "one"}, 422, "id"),
        ({"colour": "blue"}, 422, "colour"),
    ):
        reply = await record(api, **fields)
        assert (reply.status, reply.json["parameter"]) == (status, wrong), reply.text
        assert reply.json["detail"].startswith(wrong)
    lone = b'{"service":"\\ud800","version":"1","environment":"e"}'
    for body, status in (
        (b"{", 400),
        (b"[]", 422),
        (b'{"service":"' + b"x" * 70_000 + b'"}', 413),
        (b'{"service":"\xff"}', 400),
        (lone, 400),
    ):
        reply = await api.request("POST", PATH, data=body, headers={"Content-Type": "application/json"})
        assert reply.status == status, reply.text
    assert (await api.request("POST", PATH, data=b"a=b")).status == 415
    for parameters, wrong in (
        ({"page": 0}, "page"),
        ({"page": 100_001}, "page"),
        ({"limit": 101}, "limit"),
        ({"status": "done"}, "status"),
        ({"sort": "id"}, "sort"),
    ):
        reply = await api.get(PATH, **parameters)
        assert (reply.status, reply.json["parameter"]) == (400, wrong)
    assert (await listed(api))["total"] == 0


async def test_a_status_follows_only_where_it_can(api: Api) -> None:
    one = await made(api, status="succeeded")
    for status in ("pending", "running", "failed"):
        reply = await change(api, one["id"], status=status)
        assert (reply.status, reply.json["parameter"]) == (409, "status")
    assert (await change(api, one["id"])).json["parameter"] == "status"
    assert (await change(api, one["id"], finished_at="2026-03-10T11:00:00Z")).json["parameter"] == "finished_at"
    running = await made(api, status="running")
    assert (await change(api, running["id"], finished_at=NOON.isoformat())).status == 422
    for id_ in (str(uuid4()), "none"):
        assert (await change(api, id_, status="failed")).status == 404
    assert (await listed(api, status="succeeded"))["deployments"] == [one]


async def test_pages_and_filters_agree_with_plain_python(api: Api) -> None:
    chance = random.Random(3)
    everything = []
    for _ in range(57):
        started = NOON - timedelta(minutes=chance.randrange(40))
        status = chance.choice(["pending", "running", "succeeded", "failed", "rolled_back"])
        everything.append(
            await made(
                api,
                service=chance.choice(["web", "jobs"]),
                environment=chance.choice(["production", "staging"]),
                status=status,
                started_at=started.isoformat(),
            )
        )
    everything.sort(key=lambda one: (datetime.fromisoformat(one["started_at"]), UUID(one["id"])), reverse=True)
    for _ in range(25):
        names = chance.sample(["service", "environment", "status"], chance.randrange(4))
        wanted = {name: chance.choice(everything)[name] for name in names}
        page, limit = chance.randrange(1, 5), chance.choice([1, 7, 10, 100])
        rows = [one for one in everything if all(one[name] == value for name, value in wanted.items())]
        found = await listed(api, page=page, limit=limit, **wanted)
        assert found["deployments"] == rows[(page - 1) * limit : page * limit]
        assert (found["total"], found["page"], found["limit"]) == (len(rows), page, limit)
    newest = await newest_deployments(api.services.database, api.organization, 5)
    assert [str(one.id) for one in newest] == [one["id"] for one in everything[:5]]


async def test_nobody_sees_or_changes_anothers(api: Api, service_database: str) -> None:
    async with another(api, "Other") as other:
        theirs = await made(other)
        assert (await listed(api))["total"] == 0
        assert (await change(api, theirs["id"], status="failed")).status == 404
        assert (await listed(other))["deployments"] == [theirs]
        with psycopg.connect(service_database) as connection:
            connection.execute("set local role streamgauge_api")
            connection.execute("select set_config('app.organization', %s, true)", (str(api.organization),))
            insert = (
                "insert into app.deployment (organization, service, version, environment, status, started_at)"
                " values (%s, 'a', 'b', 'c', 'pending', now())"
            )
            with pytest.raises(psycopg.errors.WithCheckOptionViolation):
                connection.execute(insert, (other.organization,))


async def test_members_and_keys_that_write_may_record_and_readers_may_not(api: Api) -> None:
    database = api.services.database
    member = await identity.create_account(database, f"{uuid4()}@example.com", "hash")
    await identity.create_membership(database, member, api.organization, "member")
    person = {"Authorization": f"Bearer {OwnTokens(SECRET).issue(member, now=utc_now())}"}
    given = {"service": "web", "version": "1", "environment": "test"}
    assert (await api.request("POST", PATH, json=given, headers=person)).status == 201
    key = mint()
    await identity.create_api_key(
        database, api.organization, "reader", prefix=key.prefix, key_digest=key.digest, scopes=["read"]
    )
    reader = {"Authorization": f"Bearer {key.text}"}
    assert (await api.request("POST", PATH, json=given, headers=reader)).status == 403
    assert (await api.request("GET", PATH, headers=reader)).json["total"] == 1
    del api.headers["Authorization"]
    assert (await api.request("GET", PATH)).status == 401


async def test_every_change_is_told_to_who_listens(api: Api, service_database: str) -> None:
    async with await psycopg.AsyncConnection.connect(service_database, autocommit=True) as listener:
        await listener.execute(f"listen {DEPLOYMENTS}")
        one = await made(api)
        await change(api, one["id"], status="running")
        await change(api, one["id"], status="running")
        await change(api, one["id"], status="pending")
        await change(api, one["id"], status="failed")
        heard = [notice.payload async for notice in listener.notifies(timeout=10, stop_after=3)]
        assert heard == [str(api.organization)] * 3
        # What is told after them is told of something else: nothing came in between.
        await made(api)
        assert len([notice async for notice in listener.notifies(timeout=10, stop_after=1)]) == 1
