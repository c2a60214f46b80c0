"""Reports on demand: asked for over HTTP, made by the jobs, downloaded by a signed address; cancelled, failed, made once."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import psycopg
import pytest
from jsonschema import Draft202012Validator
from psycopg.sql import SQL, Identifier
from python_calamine import CalamineWorkbook

from aggregators.definitions.system import SYSTEM_METRICS
from aggregators.definitions.trade import TRADE_PNL
from api.report_links import signed_path
from api.report_requests import ReportKind
from jobs.report_runs import making_reports
from jobs.reports.build import REPORT_TYPES
from jobs.reports.pool import RenderPool
from jobs.reports.render import Format, render
from jobs.reports.report import Report
from storage.report_work import Artefact, ReportWork, prune_report_runs
from storage.rollup_sql import table
from tests.integration.api_service import NOON, Api, Reply, another, running, utc_now
from tests.integration.people import joined, registered
from tests.service_process import ROOT

ENTERPRISE, REPORTS = "/api/v1/enterprise/reports", "/api/v1/reports"
DAYS = "2026-03-01,2026-03-10"
DOCUMENTED = {
    "type": "object",
    "required": ["report"],
    "properties": {
        "report": {
            "type": "object",
            "required": ["id", "type", "generated_at", "data", "download_url"],
            "properties": {
                "id": {"type": "string", "format": "uuid"},
                "type": {"type": "string"},
                "generated_at": {"type": "string", "format": "date-time"},
                "data": {
                    "type": "object",
                    "required": ["summary", "metrics", "recommendations"],
                    "properties": {
                        "summary": {"type": "string", "minLength": 1},
                        "metrics": {"type": "object"},
                        "recommendations": {"type": "array"},
                    },
                },
                "download_url": {"type": "string", "pattern": "^http://.+/api/v1/reports/.+"},
            },
        }
    },
}
"""The shape that ModelCompare's document gives."""


class Here:
    """Renders in the test's own process."""

    async def render(self, report: Report, form: Format) -> bytes:
        return render(report, form)


class Slow:
    """Renders once it is let."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.let = asyncio.Event()

    async def render(self, report: Report, form: Format) -> bytes:
        self.began.set()
        await self.let.wait()
        return render(report, form)


@asynccontextmanager
async def made_by(api: Api, renderer: Any, *, lease_s: float = 30, look_s: float = 0.1) -> AsyncIterator[None]:
    """The jobs of the service."""
    async with making_reports(
        api.services.database, renderer, at_once=2, now=lambda: api.clock.now, lease_s=lease_s, look_s=look_s
    ):
        yield


async def ask(api: Api, kind: str = "performance", **more: Any) -> Reply:
    given = {"organization_id": api.organization, "report_type": kind, "date_range": DAYS, **more}
    return await api.get(ENTERPRISE, **given)


def report_of(reply: Reply, status: int = 200) -> dict[str, Any]:
    assert reply.status == status, reply.text
    found: dict[str, Any] = reply.json["report"]
    return found


async def fetched(api: Api, url: str) -> Reply:
    """What an address gives to somebody without a credential."""
    async with api.session.get(url) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


async def ended(api: Api, id_: str) -> dict[str, Any]:
    """A report once it is over."""
    found = report_of(await api.get(f"{REPORTS}/{id_}", wait=10))
    assert found["status"] not in ("queued", "running")
    return found


def pdf_text(data: bytes) -> str:
    return subprocess.run(["pdftotext", "-", "-"], input=data, capture_output=True, check=True).stdout.decode()


def test_the_api_offers_every_type_that_the_jobs_make() -> None:
    assert get_args(ReportKind) == REPORT_TYPES


async def test_every_type_has_the_documented_shape_and_its_file(api: Api) -> None:
    await api.send(
        [
            api.system("web", cpu_usage=53.25, error_rate=2),
            api.enterprise(success_rate=98.5, system_uptime=99.95),
            api.trade(NOON - dt.timedelta(hours=3), "12.345678901234567891"),
            api.view("view"),
        ]
    )
    async with made_by(api, Here()):
        for kind in REPORT_TYPES:
            reply = await ask(api, kind)
            Draft202012Validator(DOCUMENTED).validate(json.loads(reply.body))
            found = report_of(reply)
            assert (found["type"], found["status"], found["format"]) == (kind, "succeeded", "json")
            assert found["period"] == {"from": "2026-03-01", "to": "2026-03-10", "tz": None}
            assert reply.headers["Location"] == f"{REPORTS}/{found['id']}"
            file = await fetched(api, found["download_url"])
            assert (file.status, file.headers["Content-Type"]) == (200, "application/json")
            for name in ("summary", "metrics", "recommendations", "as_of", "generated_at"):
                shown = found if name == "generated_at" else found["data"]
                assert file.json[name] == shown[name], (kind, name)
            if kind == "pnl":
                assert found["data"]["metrics"]["USD"]["net"] == Decimal("12.345678901234567891")


@pytest.mark.parametrize("form", ["pdf", "excel"])
async def test_a_pdf_and_a_workbook_open(api: Api, form: str) -> None:
    await api.send([api.enterprise(success_rate=98.5)])
    pool = RenderPool(1)
    try:
        async with made_by(api, pool):
            found = report_of(await ask(api, format=form, wait=0), 202)
            found = await ended(api, found["id"])
    finally:
        await pool.close(at_once=True)
    file = await fetched(api, found["download_url"])
    assert (file.status, len(file.body)) == (200, found["size"])
    assert file.headers["ETag"] == f'"{hashlib.sha256(file.body).hexdigest()}"'
    assert (
        file.headers["Content-Disposition"]
        == f'attachment; filename="performance-2026-03-01-2026-03-10.{"pdf" if form == "pdf" else "xlsx"}"'
    )
    if form == "pdf":
        assert file.headers["Content-Type"] == "application/pdf"
        text = await asyncio.to_thread(pdf_text, file.body)
        assert "Acme" in text
        assert "98.5" in text
    else:
        book = CalamineWorkbook.from_filelike(io.BytesIO(file.body))
        cells = [cell for row in book.get_sheet_by_name("Summary").to_python() for cell in row]
        assert 98.5 in cells


async def test_an_address_is_good_for_its_report_and_for_a_while(api: Api) -> None:
    async with made_by(api, Here()):
        found = report_of(await ask(api))
    url = urlsplit(found["download_url"])
    query = dict(parse_qsl(url.query))

    async def changed(path: str = url.path, **more: str) -> Reply:
        return await fetched(api, f"{api.url}{path}?{urlencode({**query, **more})}")

    assert (await changed()).status == 200
    signature = query["signature"]
    for more in (
        {"signature": "0" * 64},
        {"signature": signature[:-1] + ("0" if signature[-1] != "0" else "1")},
        {"signature": "ü"},
        {"expires": str(int(query["expires"]) + 60)},
        {"organization": str(uuid4())},
    ):
        reply = await changed(**more)
        assert (reply.status, reply.json["parameter"]) == (403, "signature"), more
    assert (await changed(path=url.path.replace(found["id"], str(uuid4())))).status == 403
    api.clock.now += dt.timedelta(minutes=14, seconds=59)
    assert (await changed()).status == 200
    again = report_of(await api.get(f"{REPORTS}/{found['id']}"))["download_url"]
    api.clock.now += dt.timedelta(seconds=1)
    reply = await changed()
    assert (reply.status, reply.json["parameter"]) == (403, "expires")
    assert (await fetched(api, again)).status == 200


async def test_another_organization_finds_nothing(api: Api) -> None:
    async with another(api, "Other") as other, made_by(api, Here()):
        found = report_of(await ask(api))
        for method in ("GET", "DELETE"):
            assert (await other.request(method, f"{REPORTS}/{found['id']}")).status == 404
        assert (await other.get(REPORTS)).json["total"] == 0
        assert (await ask(api, organization_id=other.organization)).status == 403
        # Signed by the service itself, for an organization that does not have it.
        path = signed_path(api.services.download_key, other.organization, found["id"], api.clock.now)
        assert (await fetched(api, api.url + path)).status == 404
        listed = (await api.get(REPORTS)).json
        assert [one["id"] for one in listed["reports"]] == [found["id"]]
        assert (listed["total"], listed["reports"][0]["data"]) == (1, None)
        assert listed["reports"][0]["generated_at"] == found["generated_at"]


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


async def test_a_member_gets_a_statement_of_their_own_trades(api: Api) -> None:
    api.clock.now = utc_now()
    owner = await registered(api)
    member = await joined(owner)
    key = await owner.ask("POST", "/api/v1/api-keys", {"name": "events", "scopes": ["read", "events:write"]})
    assert key.status == 201, key.text
    inside = Api(api.url, api.services, api.clock, api.organization, api.session, {}, api.numbers, api.app)
    inside.headers = {"Authorization": f"Bearer {key.json['key']}"}
    at = api.clock.now - dt.timedelta(hours=3)
    await inside.send([inside.trade(at, "1", user_id=member.id), inside.trade(at, "10", user_id="somebody")])
    path = f"{ENTERPRISE}?report_type=pnl"
    async with made_by(api, Here()):
        nets = [report_of(await who.ask("GET", path))["data"]["metrics"]["USD"]["net"] for who in (owner, member)]
        assert nets == [11, 1]
        for kind in ("usage", "billing"):
            assert (await member.ask("GET", f"{ENTERPRISE}?report_type={kind}")).status == 403
        reply = await member.ask("POST", REPORTS, {"type": "pnl", "filters": {"user_id": ["somebody"]}})
        assert (reply.status, reply.json["parameter"]) == (403, "filters")
        whole = (await owner.ask("GET", REPORTS)).json
        own = (await member.ask("GET", REPORTS)).json
        assert (whole["total"], own["total"]) == (2, 1)
        others = next(one["id"] for one in whole["reports"] if one["id"] != own["reports"][0]["id"])
        for method in ("GET", "DELETE"):
            assert (await member.ask(method, f"{REPORTS}/{others}")).status == 404


async def test_what_is_wrong_is_named(api: Api) -> None:
    for wrong, more in (
        ("report_type", {"report_type": "taxes"}),
        ("format", {"format": "docx"}),
        ("date_range", {"date_range": "2026-03-01"}),
        ("date_range", {"date_range": "2026-03-10,2026-03-01"}),
        ("date_range", {"date_range": "2026-02-30,2026-03-01"}),
        ("date_range", {"date_range": "2001-01-01,2026-03-01"}),
        ("tz", {"tz": "Mars/Olympus"}),
        ("wait", {"wait": 11}),
        ("colour", {"colour": "blue"}),
    ):
        reply = await ask(api, **more)
        assert (reply.status, reply.json["parameter"]) == (400, wrong), reply.text
    for wrong, body in (
        ("type", {"type": "team", "filters": {"symbol": ["A"]}}),
        ("filters", {"type": "pnl", "filters": {"colour": ["A"]}}),
        ("starting_equity", {"type": "pnl", "starting_equity": {"USD": -1}}),
        ("starting_equity", {"type": "pnl", "starting_equity": {"USD": "1e99"}}),
        ("from", {"type": "pnl", "from": "2026-03-05", "to": "2026-03-04"}),
        ("to", {"type": "pnl", "to": "soon"}),
        ("tz", {"type": "pnl", "tz": "Mars/Olympus"}),
        ("colour", {"type": "pnl", "colour": 1}),
    ):
        reply = await api.request("POST", REPORTS, json=body)
        assert (reply.status, reply.json["parameter"]) == (422, wrong), reply.text
    assert (await api.get(REPORTS)).json["total"] == 0


async def test_days_and_equity_default_and_old_reports_go(api: Api) -> None:
    await api.send([api.trade(NOON - dt.timedelta(hours=3), "-5")])
    async with made_by(api, Here()):
        body = {"type": "pnl", "starting_equity": {"USD": 100}, "appendix": 0, "filters": {"symbol": ["EURUSD"]}}
        found = report_of(await api.request("POST", REPORTS, json=body))
        assert (found["period"]["from"], found["period"]["to"]) == ("2026-02-09", "2026-03-10")
        assert found["data"]["metrics"]["USD"]["relative_drawdown"] == -5 or (
            found["data"]["metrics"]["USD"]["relative_drawdown"] == 5
        )
    await prune_report_runs(api.services.database, now=api.clock.now + dt.timedelta(days=29))
    assert (await api.get(REPORTS)).json["total"] == 1
    await prune_report_runs(api.services.database, now=api.clock.now + dt.timedelta(days=31))
    assert (await api.get(REPORTS)).json["total"] == 0
    assert (await fetched(api, found["download_url"])).status == 404


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
