"""Dead letters: listed once each, sent again once, in the right partition, and an event that its source numbers is not lost by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingest.kafka.dead_letters import letters, to_record
from ingest.kafka.intake import Dead
from ingest.kafka.producer import Producer
from ingest.kafka.records import event_json
from ingest.log import DeadLetter
from jobs.replay import Replayed, replay, with_records
from storage.dead_letters import DeadLetterRow, DeadLetters
from tests.integration.log_worker import Bench, log_bench
from tests.integration.stored import organizations, run
from tests.integration.test_worker import exact, publish
from tests.samples import accepted, system, view

POISON = "alter table store.event_system add constraint poison check (host <> 'poison')"
MENDED = "alter table store.event_system drop constraint poison"


@asynccontextmanager
async def producer(bench: Bench) -> AsyncIterator[Producer]:
    """A producer of the test's own."""
    made = Producer(bench.cluster)
    try:
        yield made
    finally:
        await made.close()


async def listed(bench: Bench) -> list[DeadLetterRow]:
    """Those that wait."""
    return await DeadLetters(bench.database).listed(limit=None, reason=None)


async def again(bench: Bench, reason: str | None = None) -> Replayed:
    """Sends them again."""
    async with producer(bench) as made:
        return await replay(bench.cluster, bench.partitions, DeadLetters(bench.database), made, reason=reason)


async def test_once_the_cause_is_mended_they_are_sent_again_once(kafka: str, database_url: str) -> None:
    run(database_url, POISON)
    owners = organizations(database_url)
    samples = [system(f"e{n}", host="poison" if n % 5 == 0 else "web", organization=n % 2) for n in range(40)]
    numbered = [system(f"n{n}", host="poison" if n == 3 else "web", source="import/f", sequence=n) for n in range(1, 8)]
    async with log_bench(kafka, database_url) as bench, bench.log() as log:
        async with bench.worker() as worker:
            await publish(log, [*samples, *numbered], owners)
            await bench.drained()
            assert worker.heard.dead == 9
            rows = {(row.kind, row.partition, row.log_offset): row for row in await listed(bench)}
            found = [letter async for letter in with_records(bench.cluster, rows)]
            assert {(letter.kind, letter.partition, letter.offset) for letter in found} == set(rows)
            assert all("poison" in letter.reason and b"poison" in (letter.record.value or b"") for letter in found)
            run(database_url, MENDED)
            assert await again(bench) == Replayed(9, 0)
            await bench.drained()
            assert await again(bench) == Replayed(0, 0)
            assert await listed(bench) == []
            # What its source sends again, having heard nothing of all that, is known.
            await publish(log, [*samples[:10], *numbered], owners)
            await bench.drained()
        assert worker.heard.strays == 0
    exact(database_url, [*samples, *numbered], owners)


async def test_one_that_is_still_bad_is_listed_again(kafka: str, database_url: str) -> None:
    owners = organizations(database_url, 1)
    async with log_bench(kafka, database_url, partitions=1) as bench, bench.worker():
        await bench.produce("view", b"nonsense", organization=owners[0])
        await bench.produce("view", event_json(accepted([view("v")])[0]), organization=None)
        await bench.drained()
        assert len(await listed(bench)) == 2
        assert await again(bench, reason="HEADER is missing") == Replayed(1, 0)
        await bench.drained()
        offsets = {(row.reason, row.log_offset) for row in await listed(bench)}
    assert {offset for _, offset in offsets} == {0, 2}


async def test_what_a_crash_wrote_twice_or_for_nothing_is_listed_once_or_not(kafka: str, database_url: str) -> None:
    """Only what the database says was passed is a dead letter: a record may have been counted after all by the next worker."""
    owners = organizations(database_url, 1)
    async with log_bench(kafka, database_url, partitions=1) as bench:
        await bench.produce("view", b"nonsense", organization=owners[0])
        async with bench.worker():
            await bench.drained()
        (letter,) = [letter async for letter in letters(bench.cluster)]
        async with producer(bench) as made:
            for offset in (0, 77):
                dead = Dead(DeadLetter("view", 0, offset, None, "again"), letter.record)
                record = to_record(bench.cluster, dead, (await listed(bench))[0].dead_at)
                await made.send(bench.cluster.dead_letter_topic, 0, [record])
            await made.send(bench.cluster.dead_letter_topic, 0, [letter.record])
        assert len([letter async for letter in letters(bench.cluster)]) == 3
        rows = {(row.kind, row.partition, row.log_offset): row for row in await listed(bench)}
        assert set(rows) == {("view", 0, 0)}
        found = [letter async for letter in with_records(bench.cluster, rows)]
        assert len(found) == 1
        assert await again(bench) == Replayed(1, 0)
        assert await again(bench) == Replayed(0, 0)
