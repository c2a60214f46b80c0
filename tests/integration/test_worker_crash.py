"""A worker that dies at any step around its commits: whoever comes next counts what it had not, and nothing twice."""

from __future__ import annotations

import asyncio
import sys

import pytest

from storage.dead_letters import DeadLetters
from tests.integration.log_worker import log_bench
from tests.integration.stored import organizations, run
from tests.integration.test_worker import exact, publish
from tests.samples import enterprise, system, trade, view
from tests.service_process import ROOT


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("before-commit", 1),
        ("before-commit", 3),
        ("after-commit", 1),
        ("after-commit", 3),
        ("told", 2),
        ("put-away", 1),
    ],
)
async def test_a_worker_that_dies(kafka: str, database_url: str, step: str, number: int) -> None:
    run(database_url, "alter table store.event_system add constraint poison check (host <> 'poison')")
    owners = organizations(database_url)
    samples = [make(f"e{n}", organization=n % 2) for n in range(15) for make in (system, trade, view, enterprise)]
    async with log_bench(kafka, database_url, partitions=2) as bench, bench.log() as log:
        await publish(log, samples[:50], owners)
        await bench.produce("view", b"poison", organization=owners[0])
        await publish(log, [system("bad", host="poison"), *samples[50:]], owners)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.worker_process",
            kafka,
            bench.cluster.prefix,
            database_url,
            step,
            str(number),
            cwd=ROOT,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert await asyncio.wait_for(process.wait(), 60) == 9
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await publish(log, samples[:20], owners)
        async with bench.worker():
            await bench.drained(40)
        dead = await DeadLetters(bench.database).listed(limit=None, reason=None)
    assert len(dead) == 2
    exact(database_url, samples, owners)
