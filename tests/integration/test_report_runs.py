"""Runs of reports: waited for, cancelled, failed; made once, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from aggregators.definitions.system import SYSTEM_METRICS
from aggregators.definitions.trade import TRADE_PNL
from api.report_links import signed_path
from storage.report_work import Artefact, ReportWork
from storage.rollup_sql import table
from tests.integration.api_service import NOON, Api, another, running
from tests.integration.report_service import REPORTS, Here, Slow, ask, ended, fetched, made_by, report_of
from tests.service_process import ROOT


async def test_a_query_that_fails_is_a_failed_report_with_its_reason(database_url: str) -> None:
    async with running(database_url) as api, made_by(api, Here()):
        with psycopg.connect(database_url, autocommit=True) as connection:
            gaps = json.dumps({grain: ["net", "trades"] for grain in TRADE_PNL.grains})
            connection.execute(
                "update store.rollup set filled = false, days_done = 3, days = 9, unfilled = %s where name = 'trade_pnl'",
                (gaps,),
            )
            reply = await ask(api, "pnl")
            assert reply.status == 503, reply.text
            found = report_of(await api.request("GET", reply.headers["Location"]))
            assert (found["status"], found["error"]) == ("failed", reply.json["detail"])
            assert "3 of 9 days" in found["error"]
            assert (found["data"], found["download_url"], found["size"]) == (None, None, None)
            path = signed_path(api.services.download_key, api.organization, found["id"], api.clock.now)
            assert (await fetched(api, api.url + path)).status == 404

            # A defect is told of without its insides, and the next report is made all the same.
            for grain in SYSTEM_METRICS.grains:
                view = table(SYSTEM_METRICS, grain, "app")
                connection.execute(SQL("alter view {} rename to {}").format(view, Identifier(f"away_{grain}")))
            reply = await ask(api, "operations")
            assert (reply.status, reply.json["detail"]) == (
                500,
                "it could not be made: an error of the service, which is in its log",
            )
            assert (await ask(api, "team")).status == 200


async def test_an_organization_with_one_run_does_not_wait_for_one_with_many(database_url: str) -> None:
    async with running(database_url) as api:
        for kind in ("performance", "usage", "team"):
            report_of(await ask(api, kind, wait=0), 202)
        async with another(api, "Other") as other:
            api.clock.now += timedelta(seconds=1)
            report_of(await ask(other, wait=0), 202)
            work = ReportWork(api.services.database, lease_s=30)
            claimed = [await work.claim(api.clock.now) for _ in range(5)]
            assert [run and run.organization for run in claimed] == [
                api.organization,
                other.organization,
                api.organization,
                api.organization,
                None,
            ]


async def test_who_waits_too_long_is_told_where_to_ask(api: Api) -> None:
    renderer = Slow()
    async with made_by(api, renderer):
        reply = await ask(api, wait=0)
        found = report_of(reply, 202)
        assert reply.headers["Location"] == f"{REPORTS}/{found['id']}"
        assert (found["status"] in ("queued", "running"), found["data"], found["download_url"]) == (True, None, None)
        await renderer.began.wait()
        # The same again joins it, as long as it is made and the minute lasts; another format, day or caller does not.
        assert report_of(await ask(api, wait=1), 202)["id"] == found["id"]
        posted = await api.request(
            "POST", REPORTS + "?wait=0", json={"type": "performance", "from": "2026-03-01", "to": "2026-03-10"}
        )
        assert report_of(posted, 202)["id"] == found["id"]
        assert report_of(await ask(api, wait=0, format="pdf"), 202)["id"] != found["id"]
        waiting = asyncio.create_task(api.get(f"{REPORTS}/{found['id']}", wait=10))
        renderer.let.set()
        assert report_of(await waiting)["status"] == "succeeded"
        assert report_of(await ask(api))["id"] != found["id"]


async def test_one_that_is_cancelled_is_not_made(api: Api) -> None:
    renderer = Slow()
    queued = report_of(await ask(api, "team", wait=0), 202)
    assert report_of(await api.request("DELETE", f"{REPORTS}/{queued['id']}"))["status"] == "cancelled"
    async with made_by(api, renderer):
        found = report_of(await ask(api, wait=0), 202)
        await renderer.began.wait()
        waiting = asyncio.create_task(ask(api))
        cancelled = report_of(await api.request("DELETE", f"{REPORTS}/{found['id']}"))
        assert (cancelled["status"], cancelled["download_url"]) == ("cancelled", None)
        assert (await waiting).status in (409, 200, 202)
        assert report_of(await api.request("DELETE", f"{REPORTS}/{found['id']}"))["status"] == "cancelled"
        renderer.let.set()
        # The hand that made it is free again.
        done = report_of(await ask(api, "usage"))
        assert (await api.request("DELETE", f"{REPORTS}/{done['id']}")).status == 409
        for one in (queued, found):
            assert (await ended(api, one["id"]))["status"] == "cancelled"


async def test_a_maker_that_is_killed_leaves_one_file(database_url: str) -> None:
    async with running(database_url) as api:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.report_process", database_url, cwd=ROOT, stdout=subprocess.PIPE
        )
        try:
            found = report_of(await ask(api, wait=0), 202)
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 30) == b"rendering\n"
        finally:
            process.kill()
            await process.wait()
        assert report_of(await api.get(f"{REPORTS}/{found['id']}"))["status"] == "running"
        async with made_by(api, Here()):
            assert (await ended(api, found["id"]))["status"] == "succeeded"
        with psycopg.connect(database_url, autocommit=True) as connection:
            rows = connection.execute("select attempts, sha256 = sha256(artefact) from store.report_run").fetchall()
        assert rows == [(2, True)]


async def test_who_lost_a_run_cannot_finish_it_and_one_that_ends_all_makers_fails(database_url: str) -> None:
    async with running(database_url) as api:
        id_ = report_of(await ask(api, wait=0), 202)["id"]
        late, holder = (ReportWork(api.services.database, lease_s=lease) for lease in (0, 30))
        lost, held = await late.claim(NOON), await holder.claim(NOON)
        assert lost is not None
        assert held is not None
        assert str(lost.id) == str(held.id) == id_
        assert await holder.claim(NOON) is None
        first, second = (Artefact("{}", data, "application/json", "a.json") for data in (b"1", b"2"))
        for work in (late, holder):
            assert not await work.renew(lost)
            assert not await work.finish(lost, first, NOON)
            assert not await work.fail(lost, "no", 500, NOON)
        assert await holder.renew(held)
        assert await holder.finish(held, second, NOON)
        assert not await holder.finish(held, first, NOON)
        with psycopg.connect(database_url, autocommit=True) as connection:
            assert connection.execute("select artefact from store.report_run").fetchall() == [(b"2",)]

        other = report_of(await ask(api, "team", wait=0), 202)["id"]
        for _ in range(3):
            assert await late.claim(NOON) is not None
        assert await late.claim(NOON) is None
        found = await ended(api, other)
        assert (found["status"], found["error"]) == ("failed", "the process that made it ended each time it was tried")


async def test_the_apis_role_asks_and_cancels_and_writes_nothing_else(database_url: str) -> None:
    async with running(database_url) as api:
        id_ = report_of(await ask(api, wait=0), 202)["id"]
        with psycopg.connect(database_url) as connection:
            for statement in (
                "select 1 from store.report_run",
                "update app.report_run set artefact = 'x'",
                "update app.report_run set own = null",
                "delete from app.report_run",
            ):
                connection.execute("set local role streamgauge_api")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
                connection.rollback()
            connection.execute("set local role streamgauge_api")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no organization"):
                connection.execute("select count(*) from app.report_run")
            connection.rollback()
            connection.execute("set local role streamgauge_api")
            connection.execute("select set_config('app.organization', %s, true)", (str(uuid4()),))
            assert (
                connection.execute("update app.report_run set status = 'cancelled', finished_at = now()").rowcount == 0
            )
            connection.rollback()
            # The jobs find every organization's runs.
            connection.execute("set local role streamgauge_jobs")
            assert connection.execute("update store.report_run set attempts = 0").rowcount == 1
            connection.rollback()
        assert report_of(await api.get(f"{REPORTS}/{id_}"))["status"] == "queued"
