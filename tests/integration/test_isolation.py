"""No organization sees another one's rows: by no endpoint, by no cursor, and by no SQL under the API's role."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from api.auth.tokens import OwnTokens
from storage import identity
from storage.audit import Actor
from storage.invitations import invite
from tests.integration.api_service import NOON, Api, another, utc_now
from tests.integration.api_service import SECRET as TOKEN_SECRET
from tests.integration.people import new_address
from tests.integration.schedule_service import dues, look, schedule

MARK = "zq-marker"
"""Stands in every text that the other organization sends."""
DELETED_BY_THE_API = {"report_schedule"}
"""What its users may delete, of their own organization."""


async def fill(api: Api, mark: str) -> None:
    """Events of every kind whose every text holds the mark and whose every number is the organization's own."""
    number = 7_654_321 if mark == MARK else 5
    texts = {name: f"{mark}-{name}" for name in ("user_id", "broker", "symbol", "strategy", "trade_id")}
    await api.send(
        [
            {**api.system(f"{mark}-host", cpu_usage=number), "source": mark, "sequence": 1},
            {**api.enterprise(green_score=number, team=f"{mark}-team"), "source": mark},
            {**api.enterprise(green_score=number), "source": mark},
            {**api.trade(NOON, str(number), **texts), "source": mark},
            {**api.view("like", creator_id=f"{mark}-c", video_id=f"{mark}-v", user_id=f"{mark}-u"), "source": mark},
            api.system(f"{mark}-api GET /{mark}", **{"api.request_time": number, "api.requests": number % 1_000_000}),
        ]
    )
    deployment = {"service": f"{mark}-service", "version": str(number), "environment": mark}
    assert (await api.request("POST", "/api/v1/deployments", json=deployment)).status == 201
    hook = {"kind": "webhook", "url": f"https://{mark}.example.com/"}
    await schedule(api, name=f"{mark}-schedule", recipients=[hook], cron="@daily")


async def fall_due(api: Api, mark: str) -> None:
    """The schedule that `fill` made has made a report, which is to be handed over."""
    found, *_ = (await api.request("GET", "/api/v1/report-schedules")).json["schedules"]
    await look(api, "2026-03-11T12:00")
    (due,) = await dues(api, found["id"])
    # As whoever hands a finished report over stores it: who does that, and where to, is no part of this.
    async with api.services.database.jobs() as connection:
        await connection.execute(
            "insert into store.report_delivery (organization, id, run, place, recipient, next_at, created_at)"
            " values (%s, gen_random_uuid(), %s, 0, %s, now(), now())",
            (api.organization, due.report, json.dumps({"kind": "webhook", "url": f"https://{mark}.example.com/"})),
        )


async def manage(api: Api) -> None:
    """A member, an invitation, an entry of the audit trail, a report and an export in the organization, which has a key already."""
    database, by = api.services.database, Actor(None, "ours", None, NOON)
    account = await identity.create_account(database, new_address("manager"), "hash")
    await identity.create_membership(database, account, api.organization, "owner")
    await invite(
        database, api.organization, "guest@example.com", "member", new_address("token"), replace(by, account=account)
    )
    asked = {"type": "performance", "format": "json"}
    reply = await api.request("POST", "/api/v1/reports?wait=0", json=asked)
    assert reply.status == 202, reply.text
    assert (await api.get("/api/v1/exports", rollup="trade_pnl")).status == 200


async def test_no_answer_holds_a_byte_of_anothers(api: Api) -> None:
    async with another(api, MARK) as other:
        await fill(other, MARK)
        await fill(api, "ours")
        await fall_due(other, MARK)
        await fall_due(api, "ours")
        paths = [
            *(
                f"/api/v1/query?rollup={rollup}&group_by={keys}&from=2026-03-01&to=2026-03-20{more}"
                for rollup, keys in (
                    ("system_metrics", "host,metric"),
                    ("enterprise_metrics", "team_type,metric"),
                    ("trade_pnl", "user_id,broker,symbol,strategy,currency"),
                    ("video_engagement", "creator_id,video_id"),
                    ("api_requests", "host,method,route"),
                )
                for more in ("", "&grain=1d", "&limit=1", "&grain=1d&fill=zero", "&source=raw")
            ),
            f"/api/v1/query?rollup=system_metrics&filter=host:{MARK}-host",
            "/api/v1/exports?rollup=trade_pnl&group_by=user_id,broker,symbol,strategy,currency",
            "/api/v1/exports?rollup=system_metrics&group_by=host,metric&grain=1h&fill=zero",
            f"/api/v1/dashboard/stats?host={MARK}-host",
            "/api/v1/dashboard/stats",
            "/api/v1/dashboard/analytics",
            "/api/v1/enterprise/metrics",
            "/api/v1/metrics",
            "/api/v1/deployments",
            "/api/v1/report-schedules",
            "/api/v1/reports",
            f"/api/v1/deployments?service={MARK}-service",
            "/api/performance",
            "/health/detailed",
            "/api/unify/v1/metrics?time_range=all",
            f"/api/unify/v1/metrics?user_id={MARK}-user_id",
            "/api/unify/v1/reports/pnl",
            f"/api/unify/v1/reports/pnl?broker={MARK}-broker",
            "/api/unify/v1/analytics/trades?group_by=user_id,broker,symbol,strategy&recent=50&time_range=all",
            f"/api/unify/v1/analytics/trades?user_id={MARK}-user_id&recent=50&group_by=symbol",
            "/api/unify/v1/analytics/strategies?starting_equity=100&time_range=all",
            "/users/top",
            "/api/v1/rollups",
            f"/api/v1/events/sequence?type=system&source={MARK}",
            "/metrics",
        ]
        for path in paths:
            reply = await api.request("GET", path)
            assert reply.status == 200, reply.text
            # A name that the asker wrote may come back in an error, never in rows.
            assert MARK not in reply.text, path
            assert "7654321" not in reply.text, path
            assert str(other.organization) not in reply.text
            assert (
                "7654321" in (await other.request("GET", path)).text
                or "ours" not in (await other.request("GET", path)).text
            )
        assert (await api.get("/api/v1/events/sequence", type="system", source=MARK)).json["sequence"] is None
        assert (await other.get("/api/v1/events/sequence", type="system", source=MARK)).json["sequence"] == 1

        first = await other.query("system_metrics", group_by="host,metric", limit=1, from_="2026-03-01", grain="1d")
        cursor = first.json["cursor"]
        if cursor is not None:
            reply = await api.query("system_metrics", group_by="host,metric", grain="1d", cursor=cursor)
            assert MARK not in reply.text

        etag = (await other.request("GET", "/users/top")).headers["ETag"]
        assert (await api.request("GET", "/users/top", headers={"If-None-Match": etag})).status == 200
        for header in ({"X-Organization-ID": str(other.organization)}, {"X-Organization-ID": MARK}):
            reply = await api.request("GET", "/users/top", headers=header)
            assert reply.status in (400, 403)
            assert MARK not in reply.text or header["X-Organization-ID"] == MARK


async def test_the_same_identity_in_two_organizations_is_two_events(api: Api) -> None:
    async with another(api, "Other") as other:
        event = {**api.system("web", cpu_usage=1), "id": "same", "source": "same"}
        numbered = {**event, "source": "numbered", "sequence": 5}
        await api.send([event, numbered])
        await other.send([event, numbered])
        for one in (api, other):
            assert (await one.query("system_metrics", measures="count")).rows == [[2]]


async def test_a_member_sees_their_own_trades_and_an_owner_all(api: Api) -> None:
    accounts: dict[str, dict[str, str]] = {}
    for role in ("owner", "member"):
        account = await identity.create_account(api.services.database, f"{role}@example.com", "hash")
        await identity.create_membership(api.services.database, account, api.organization, role)  # type: ignore[arg-type]
        accounts[role] = {
            "Authorization": f"Bearer {OwnTokens(TOKEN_SECRET).issue(account, now=utc_now())}",
            "id": str(account),
        }
    api.clock.now = utc_now()
    mine = accounts["member"].pop("id")
    accounts["owner"].pop("id")
    closed = api.clock.now - timedelta(minutes=1)
    await api.send([api.trade(closed, "1", user_id=mine), api.trade(closed, "10", user_id="somebody")])

    async def net(headers: dict[str, str], **more: Any) -> Any:
        return (await api.query("trade_pnl", measures="net", headers=headers, **more)).rows[0][0]

    assert await net(accounts["owner"]) == await net(api.headers) == 11
    assert await net(accounts["member"]) == await net(accounts["member"], filter=f"user_id:{mine}") == 1
    reply = await api.query("trade_pnl", measures="net", headers=accounts["member"], filter="user_id:somebody")
    assert (reply.status, reply.json["parameter"]) == (403, "filter")
    for path in ("/api/unify/v1/metrics", "/api/unify/v1/reports/pnl"):
        assert (
            "11" not in (await api.get(path, headers=accounts["member"])).text.replace("2026-11", "").split("as_of")[0]
        )
        assert (await api.get(path, headers=accounts["member"], user_id="somebody")).status == 403
    asked = {"rollup": "trade_pnl", "measures": "net"}
    async with (
        api.stream(headers=accounts["member"], **asked) as his,
        api.stream(headers=accounts["owner"], **asked) as hers,
    ):
        assert ((await his.next()) or ("", {}))[1]["rows"] == [[1]]
        assert ((await hers.next()) or ("", {}))[1]["rows"] == [[11]]
    async with api.stream(mode="events", headers=accounts["member"]) as events:
        await events.placed()
        last = api.trade(closed, "3", user_id=mine)
        await api.send([api.trade(closed, "2", user_id="somebody"), last])
        assert await events.ids(1) == [last["id"]]


async def test_under_the_apis_role_sql_reads_nothing_without_an_organization(api: Api, service_database: str) -> None:
    await fill(api, "ours")
    await fall_due(api, "ours")
    await api.get("/users/top")
    await manage(api)
    with psycopg.connect(service_database, autocommit=True) as connection:
        relations = connection.execute(
            "select n.nspname, c.relname, c.relkind from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind in ('r', 'v', 'm', 'p', 'f', 'S') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
            # What TimescaleDB brings along tells of chunks, not of rows; the chunks themselves are among what is tried.
            " and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')"
            " order by 1, 2"
        ).fetchall()
        assert {schema for schema, _, _ in relations} >= {"app", "store"}
        filled = 0
        for schema, name, kind in relations:
            query = sql.SQL("select * from {}").format(sql.Identifier(schema, name))
            if schema != "app":
                for organization in (None, api.organization):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        read(connection, query, organization)
                continue
            assert kind == "v", f"{name} is not a barrier view"
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                read(connection, query, None)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                read(connection, query, "")
            assert read(connection, query, "00000000-0000-0000-0000-000000000000") == []
            filled += bool(read(connection, query, api.organization))
            delete = sql.SQL("delete from {}").format(sql.Identifier(schema, name))
            if name in DELETED_BY_THE_API:
                gone = read(connection, delete + sql.SQL(" returning organization"), api.organization)
                assert {organization for (organization,) in gone} == {api.organization}
                continue
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
                read(connection, delete, api.organization)
        assert filled >= 23
        options = connection.execute(
            "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'app'"
            " and c.relkind = 'v' and not coalesce('security_barrier=true' = any(c.reloptions), false)"
        ).fetchall()
        assert options == []


def read(connection: psycopg.Connection[Any], query: sql.Composable, organization: Any) -> list[Any]:
    """The rows that the API's role reads for an organization (None: for none)."""
    with connection.transaction(force_rollback=True):
        connection.execute("set local role streamgauge_api")
        if organization is not None:
            connection.execute("select set_config('app.organization', %s, true)", (str(organization),))
        return connection.execute(query).fetchall()
