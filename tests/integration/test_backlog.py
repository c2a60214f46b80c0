"""A worker behind a backlog on a real broker: its partitions go on alike."""

from __future__ import annotations

from ingest.kafka.shares import STEP
from storage.database import Conn
from tests.integration.log_worker import log_bench
from tests.integration.stored import organizations, raw_identities
from tests.integration.test_worker import publish
from tests.samples import view


async def test_the_partitions_of_a_backlog_go_on_alike(kafka: str, database_url: str) -> None:
    owners = organizations(database_url, 1)
    samples = [view(f"v{number}") for number in range(12_000)]
    behind: list[int] = []

    def look(connection: Conn) -> None:
        """Between the last statement and the commit: how far the partition that is furthest is before the last."""
        row = connection.execute(
            "select max(next_offset) - min(next_offset) from store.log_partition where kind = 'view'"
        ).fetchone()
        assert row is not None
        behind.append(int(row[0]))

    async with log_bench(kafka, database_url, partitions=3) as bench:
        async with bench.log() as log:
            await publish(log, samples, owners)
        async with bench.worker(group_events=3 * STEP, before_commit=look) as worker:
            await bench.drained()
    assert worker.heard.counted == len(samples) == len(raw_identities(database_url, owners))
    assert len(behind) >= len(samples) // (3 * STEP)
    assert max(behind) <= 2 * STEP
