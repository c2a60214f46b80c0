"""Alerts counted once: told late or twice, by several processes, by one that froze, or committed after later ones."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import psycopg
import pytest
from structlog.testing import capture_logs

from aggregators.definitions import ROLLUPS
from ingest.events import Event
from ingest.log import Batch, Unavailable
from jobs.delivery.alerts import AlertTeller
from storage.database import Database
from storage.retention import prune_sources
from storage.sink import DatabaseSink
from tests.integration.stored import organizations, scalar

ADD = (
    "insert into store.report_alert (organization, key, metric, happened_at)"
    " values (%s, %s, 'reports_failed', timestamptz '2026-03-10 12:00Z' + make_interval(mins => %s))"
)


def alert(url: str, organization: UUID, minute: int = 0) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(ADD, (organization, str(uuid4()), minute))


def counted(url: str) -> int:
    """How many alerts the rollup has."""
    return int(scalar(url, "select coalesce(sum(sum), 0) from store.rollup_enterprise_metrics_1d"))


def waiting(url: str) -> int:
    return int(scalar(url, "select count(*) from store.report_alert"))


class Counting:
    """A log that has lost nothing when it answers. It knows of what was sent before only what is in the database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.sent = 0

    async def __call__(self, organization: UUID, events: list[Event]) -> None:
        await asyncio.to_thread(self._write, Batch(organization, events))

    def _write(self, batch: Batch) -> None:
        self.sent += batch.size
        sink = DatabaseSink(self._url, ROLLUPS)
        try:
            assert sink.write([batch]).refusals == [[]]
        finally:
            sink.close()


async def test_one_that_was_counted_unnoticed_is_known_however_late_it_is_told_again(
    database: Database, database_url: str
) -> None:
    [organization] = organizations(database_url, 1)
    log = Counting(database_url)

    async def unheard(organization: UUID, events: list[Event]) -> None:
        await log(organization, events)
        raise Unavailable("the answer was lost")

    alert(database_url, organization)
    with pytest.raises(Unavailable):
        await AlertTeller(database, unheard).tell()
    # The log is away for so long that ids are out of their window, and sources that were silent are forgotten.
    with psycopg.connect(database_url) as connection:
        connection.execute("truncate store.ledger, store.ledger_slice, store.ledger_page")
        connection.execute("update store.source_sequence set heard_at = now() - interval '31 days'")
    await prune_sources(database)
    alert(database_url, organization)
    assert await AlertTeller(database, log).tell()
    assert (log.sent, counted(database_url), waiting(database_url)) == (3, 2, 0)


async def test_no_transaction_waits_for_the_log(database: Database, database_url: str) -> None:
    [organization] = organizations(database_url, 1)
    seen = []

    async def publish(organization: UUID, events: list[Event]) -> None:
        seen.append(
            scalar(
                database_url,
                "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
                " and xact_start is not null and backend_type = 'client backend'",
            )
        )

    alert(database_url, organization)
    assert await AlertTeller(database, publish).tell()
    assert not await AlertTeller(database, publish).tell()
    assert seen == [0]


async def test_one_that_commits_after_a_later_one_was_told_counts_too(database: Database, database_url: str) -> None:
    [organization] = organizations(database_url, 1)
    teller = AlertTeller(database, Counting(database_url))
    with psycopg.connect(database_url) as late:
        late.execute(ADD, (organization, "late", 0))
        alert(database_url, organization, minute=1)
        assert await teller.tell()
        assert counted(database_url) == 1
    assert await teller.tell()
    assert counted(database_url) == 2


async def test_several_processes_tell_each_once_and_each_organization_its_own(
    database: Database, database_url: str
) -> None:
    owners = organizations(database_url, 3)
    log = Counting(database_url)
    for minute in range(4):
        for owner in owners:
            alert(database_url, owner, minute)

    async def telling() -> None:
        while waiting(database_url):
            await AlertTeller(database, log).tell()

    async with asyncio.timeout(30):
        await asyncio.gather(*(telling() for _ in range(3)))
    assert log.sent == 12
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "select organization, sum(sum) from store.rollup_enterprise_metrics_1d group by organization"
        ).fetchall()
    assert dict(found) == dict.fromkeys(owners, 4)


async def test_a_process_that_froze_while_it_told_adds_nothing_to_what_another_told(
    database: Database, database_url: str
) -> None:
    [organization] = organizations(database_url, 1)
    log = Counting(database_url)
    frozen, thawed = asyncio.Event(), asyncio.Event()

    async def slow(organization: UUID, events: list[Event]) -> None:
        frozen.set()
        await thawed.wait()
        await log(organization, events)

    alert(database_url, organization)
    late = asyncio.create_task(AlertTeller(database, slow, lease_s=0).tell())
    await frozen.wait()
    alert(database_url, organization, minute=1)
    assert await AlertTeller(database, log).tell()
    thawed.set()
    assert await late
    assert (log.sent, counted(database_url), waiting(database_url)) == (3, 2, 0)


async def test_a_teller_that_is_stopped_leaves_them_to_the_next_at_once(database: Database, database_url: str) -> None:
    [organization] = organizations(database_url, 1)
    asked = asyncio.Event()

    async def silent(organization: UUID, events: list[Event]) -> None:
        asked.set()
        await asyncio.Event().wait()

    alert(database_url, organization)
    with capture_logs() as logs:
        task = asyncio.create_task(AlertTeller(database, silent).run())
        await asked.wait()
        # Meanwhile they are nobody else's.
        assert not await AlertTeller(database, Counting(database_url)).tell()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await AlertTeller(database, Counting(database_url)).tell()
    assert (counted(database_url), waiting(database_url), logs) == (1, 0, [])
