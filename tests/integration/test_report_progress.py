"""The progress of a report: told at once, at every step and at its end, to whoever may see it, wherever the report is made."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from api import report_progress
from api.auth.keys import mint
from api.edge import Edge
from jobs import report_runs
from jobs.report_runs import FileTooLarge, making_reports
from jobs.reports.render import Format, render
from jobs.reports.report import Report
from storage import identity
from storage.report_work import Artefact, ReportWork
from tests.integration.api_service import NOON, Api, another, running, utc_now
from tests.integration.people import joined, registered
from tests.integration.report_service import REPORTS, Here
from tests.integration.stream_reader import Stream
from tests.service_process import ROOT

MADE = Artefact(
    '{"summary": "s", "metrics": {}, "recommendations": [], "as_of": "2026-03-10T12:00:00Z"}', b"1", "a/b", "f"
)


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Api]:
    """A service of the test's own: what waits in it is this test's."""
    async with running(database_url) as service:
        yield service


async def asked(api: Api, kind: str = "performance") -> str:
    """The id of a report that nobody makes yet; each is asked for a second after the one before."""
    api.clock.now += timedelta(seconds=1)
    reply = await api.request("POST", f"{REPORTS}?wait=0", json={"type": kind})
    assert reply.status == 202, reply.text
    return str(reply.json["report"]["id"])


@asynccontextmanager
async def following(api: Api, id_: str, **how: Any) -> AsyncIterator[Stream]:
    async with api.stream(f"{REPORTS}/{id_}/progress", **how) as stream:
        assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
        yield stream


async def told(stream: Stream, seconds: float = 10) -> tuple[str, int | None, Any]:
    """Step, place and fraction of the next event."""
    name, found = await stream.next(seconds) or ("", {})
    assert (name, set(found)) == ("progress", {"step", "place", "fraction"}), (name, found)
    return found["step"], found["place"], found["fraction"]


async def done(stream: Stream) -> dict[str, Any]:
    """The report with which the stream ends."""
    name, found = await stream.next() or ("", {})
    assert name == "done", (name, found)
    assert await stream.next() is None
    report: dict[str, Any] = found["report"]
    return report


async def rest(stream: Stream) -> tuple[list[tuple[str, int | None, Any]], dict[str, Any]]:
    """What is still told, and the report. A step that is over when it is looked at is passed over."""
    steps = []
    while (event := await stream.next()) is not None and event[0] == "progress":
        steps.append((event[1]["step"], event[1]["place"], event[1]["fraction"]))
    assert event is not None
    assert await stream.next() is None
    report: dict[str, Any] = event[1]["report"]
    return steps, report


async def shown(api: Api, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"{REPORTS}/{id_}")).json["report"]
    return found


async def test_every_step_is_told_and_at_last_the_report(api: Api) -> None:
    work = ReportWork(api.services.database, lease_s=30)
    first, second = await asked(api), await asked(api, "usage")
    async with following(api, second) as stream:
        assert await told(stream) == ("queued", 2, None)
        assert (await shown(api, second))["step"] == "queued"
        ahead = await work.claim(NOON)
        assert ahead is not None
        assert str(ahead.id) == first
        assert await told(stream) == ("queued", 1, None)
        await work.release(ahead)
        assert await told(stream) == ("queued", 2, None)
        await api.request("DELETE", f"{REPORTS}/{first}")
        assert await told(stream) == ("queued", 1, None)

        run = await work.claim(NOON)
        assert run is not None
        assert await told(stream) == ("reading", None, None)
        for _ in range(2):  # the same again is no change
            await work.move(run, "rendering")
        await work.move(run, "rendering", 0.3)
        assert await told(stream) == ("rendering", None, None)
        assert float((await told(stream))[2]) == 0.3
        await work.move(run, "storing")
        assert await told(stream) == ("storing", None, None)
        assert (await shown(api, second))["step"] == "storing"
        assert (await api.get(REPORTS)).json["reports"][0]["step"] in ("storing", "cancelled")

        # Whoever comes late is told where it is.
        async with following(api, second) as late:
            assert await told(late) == ("storing", None, None)
        await work.release(run)
        assert await told(stream) == ("queued", 1, None)
        await work.move(run, "rendering")  # by who does not hold it any more: nothing
        run = await work.claim(NOON)
        assert run is not None
        assert await told(stream) == ("reading", None, None)
        assert await work.finish(run, MADE, NOON)
        report = await done(stream)
    assert report == await shown(api, second)
    assert (report["step"], report["status"], report["size"]) == ("succeeded", "succeeded", 1)
    assert report["download_url"]
    async with following(api, second) as late:
        assert await done(late) == report


class Refusing:
    """Renders nothing: a character has no shape."""

    async def render(self, report: Report, form: Format) -> bytes:
        raise FileTooLarge("no font has it")


async def test_one_that_fails_or_is_cancelled_ends_with_the_reason(api: Api) -> None:
    async with (
        following(api, await asked(api)) as stream,
        making_reports(api.services.database, Refusing(), at_once=1, now=lambda: api.clock.now),
    ):
        steps, report = await rest(stream)
        assert {step for step, *_ in steps} <= {"queued", "reading", "rendering"}
        assert (report["status"], report["step"], report["error"]) == ("failed", "failed", "no font has it")
        assert report["download_url"] is None
    id_ = await asked(api, "usage")
    async with following(api, id_) as stream:
        assert (await told(stream))[0] == "queued"
        await api.request("DELETE", f"{REPORTS}/{id_}")
        assert (await done(stream))["step"] == "cancelled"


async def test_a_maker_in_another_process_that_is_killed_and_one_that_goes_on(api: Api, database_url: str) -> None:
    id_ = await asked(api)
    async with following(api, id_) as stream:
        assert await told(stream) == ("queued", 1, None)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.report_process", database_url, cwd=ROOT, stdout=subprocess.PIPE
        )
        try:
            while (event := await told(stream, 30)) != ("rendering", None, None):
                assert event == ("reading", None, None)
        finally:
            process.kill()
            await process.wait()
        async with making_reports(api.services.database, Here(), at_once=1, now=lambda: api.clock.now, look_s=0.1):
            steps, report = await rest(stream)
            assert report["status"] == "succeeded"
            # None is told twice, none comes back.
            order = ["reading", "rendering", "storing"]
            names = [step for step, *_ in steps]
            assert names == sorted(set(names), key=order.index)


class Slow:
    """Renders once it is let, and has done by then as much as it is set to."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.part: float | None = None

    async def render(self, report: Report, form: Format) -> bytes:
        await self.let.wait()
        return render(report, form)

    def done(self, report: Report) -> float | None:
        return self.part


async def test_what_is_rendered_is_told_in_twentieths(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_runs, "SAY_S", 0.01)
    slow = Slow()
    async with (
        following(api, await asked(api)) as stream,
        making_reports(api.services.database, slow, at_once=1, now=lambda: api.clock.now, done=slow.done),
    ):
        while (event := await told(stream))[0] != "rendering":
            assert event[2] is None
        assert event == ("rendering", None, None)
        slow.part = 0.25
        assert await told(stream) == ("rendering", None, Decimal("0.25"))
        slow.part = 0.26  # too little to be told
        slow.let.set()
        steps, report = await rest(stream)
        assert set(steps) <= {("storing", None, None)}
        assert report["step"] == "succeeded"


async def test_a_lost_notice_is_made_up_for(api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_progress, "LOOK_S", 0.05)
    id_ = await asked(api)
    async with following(api, id_) as stream:
        assert (await told(stream))[0] == "queued"
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("update store.report_run set status = 'cancelled', finished_at = created_at")
        assert (await done(stream))["status"] == "cancelled"


async def test_only_who_may_see_a_report_sees_how_far_it_is(api: Api) -> None:
    path = f"{REPORTS}/{await asked(api)}/progress"
    assert (await api.get(path, headers={"Authorization": "Bearer nonsense"})).status == 401
    assert (await api.get(f"{REPORTS}/{uuid4()}/progress")).status == 404
    assert (await api.get(f"{REPORTS}/1/progress")).status == 404
    assert (await api.get(path, colour="blue")).json["parameter"] == "colour"
    async with another(api, "Other") as other:
        assert (await other.get(path)).status == 404
        # Their line is their own, too.
        async with following(other, await asked(other)) as stream:
            assert await told(stream) == ("queued", 1, None)
    ticket = (await api.request("POST", "/api/v1/stream/tickets")).json["ticket"]
    async with api.session.get(f"{api.url}{path}?ticket={ticket}") as answer:
        assert (await told(Stream(answer)))[0] == "queued"
    async with api.session.get(f"{api.url}{path}?ticket={ticket}") as answer:
        assert answer.status == 401


async def test_a_member_follows_their_own_and_a_revoked_key_nothing(api: Api) -> None:
    api.clock.now = utc_now()
    owner = await registered(api)
    member = await joined(owner)
    ids = [
        (await who.ask("POST", f"{REPORTS}?wait=0", {"type": "performance"})).json["report"]["id"]
        for who in (owner, member)
    ]
    assert (await member.ask("GET", f"{REPORTS}/{ids[0]}/progress")).status == 404
    key = mint()
    await identity.create_api_key(
        api.services.database, api.organization, "k", prefix=key.prefix, key_digest=key.digest, scopes=["read"]
    )
    async with following(api, await asked(api), headers={"Authorization": f"Bearer {key.text}"}) as stream:
        assert (await told(stream))[0] == "queued"
        async with api.services.database.identity() as connection:
            await connection.execute("update store.api_key set revoked_at = now() where prefix = %s", (key.prefix,))
        assert await stream.next() is None


async def test_they_count_as_streams_and_end_with_the_service(database_url: str) -> None:
    async with running(database_url, edge=Edge(streams_per_credential=1)) as api:
        id_ = await asked(api)
        async with following(api, id_) as stream:
            assert (await told(stream))[0] == "queued"
            assert (await api.get(f"{REPORTS}/{id_}/progress")).status == 429
            await api.readers.stop()
            assert await stream.next() is None
