"""Reports that are asked for over HTTP: their shape, their files and addresses, who gets which, and what is refused."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import io
import json
import subprocess
from decimal import Decimal
from typing import get_args
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator
from python_calamine import CalamineWorkbook

from api.report_links import signed_path
from api.report_requests import ReportKind
from jobs.reports.build import REPORT_TYPES
from jobs.reports.pool import RenderPool
from storage.report_work import prune_report_runs
from tests.integration.api_service import NOON, Api, Reply, another, utc_now
from tests.integration.people import joined, registered
from tests.integration.report_service import ENTERPRISE, REPORTS, Here, ask, ended, fetched, made_by, report_of

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
