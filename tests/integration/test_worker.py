"""The worker on a real broker and a real database: what was published is counted once, whoever owned the partitions meanwhile."""

from __future__ import annotations

from tests.integration.log_worker import log_bench
from tests.integration.stored import found_differences, organizations, raw_identities, rollup_rows
from tests.integration.test_sink_writers import mixture
from tests.one_pass import differences, one_pass
from tests.samples import batches


async def test_what_is_published_is_counted_once(kafka: str, database_url: str) -> None:
    owners = organizations(database_url)
    samples = mixture(400)
    async with log_bench(kafka, database_url) as bench, bench.log() as log, bench.worker() as worker:
        for _ in range(2):
            for batch in batches(samples, owners):
                assert await log.publish(batch) == []
        await bench.drained()
    assert (worker.heard.counted, worker.heard.dead, worker.heard.strays, worker.heard.fences) == (400, 0, 0, 0)
    assert len(raw_identities(database_url, owners)) == 400
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
    assert found_differences(database_url) == []
