"""The worker on a real broker and a real database: what was published is counted once, whoever owned the partitions meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from ingest.identity import keys
from ingest.kafka.log import KafkaLog
from ingest.kafka.records import event_json
from ingest.kafka.topics import TopicShape, ensure_topics
from jobs.storing import TooManyDeadLetters
from tests.integration.api_service import until
from tests.integration.log_worker import Bench, log_bench
from tests.integration.stored import (
    count,
    found_differences,
    organizations,
    raw_identities,
    rollup_rows,
    run,
    scalar,
)
from tests.integration.test_sink_writers import mixture
from tests.one_pass import differences, one_pass
from tests.samples import Sample, accepted, batches, system, trade, view


async def publish(log: KafkaLog, samples: Sequence[Sample], owners: Any) -> None:
    """Publishes all of them."""
    for batch in batches(samples, owners):
        assert await log.publish(batch) == []


def exact(url: str, samples: Sequence[Sample], owners: Any) -> None:
    """The database holds each of these once, in the raw store and in every rollup."""
    expected = sorted((owners[s.organization], s.event["type"], s.event["source"], s.event["id"]) for s in samples)
    assert raw_identities(url, owners) == expected
    assert differences(one_pass(samples, owners), rollup_rows(url, owners)) == []
    assert found_differences(url) == []


async def test_what_is_published_is_counted_once(kafka: str, database_url: str) -> None:
    owners = organizations(database_url)
    samples = mixture(400)
    async with log_bench(kafka, database_url) as bench, bench.log() as log, bench.worker() as worker:
        for _ in range(2):
            await publish(log, samples, owners)
        await bench.drained()
    assert (worker.heard.counted, worker.heard.dead, worker.heard.strays, worker.heard.fences) == (400, 0, 0, 0)
    assert worker.heard.failures == []
    exact(database_url, samples, owners)


async def test_workers_come_and_go_while_events_come(kafka: str, database_url: str) -> None:
    owners = organizations(database_url)
    samples = mixture(600)
    async with log_bench(kafka, database_url, partitions=4) as bench, bench.log() as log:
        done = asyncio.Event()

        async def comings_and_goings() -> None:
            while not done.is_set():
                async with bench.worker(group_events=20):
                    await until(lambda: done.is_set() or bench.workers[-1].heard.counted > 10, 20)

        async with bench.worker(group_events=20):
            churn = asyncio.create_task(comings_and_goings())
            for batch in batches([*samples, *samples[:200]], owners):
                await log.publish(batch)
            await bench.drained(40)
            done.set()
            await churn
    assert len(bench.workers) > 1
    exact(database_url, samples, owners)


async def test_a_zombies_group_is_refused_and_counted_by_the_next_owner(kafka: str, database_url: str) -> None:
    """Another claims every partition while a group is being written: the claim waits, and the next group is refused."""
    owners = organizations(database_url)
    samples = mixture(200)
    inside, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        inside.set()
        assert go_on.wait(20)

    async with (
        log_bench(kafka, database_url, partitions=2) as bench,
        bench.log() as log,
        bench.worker(before_commit=hold, group_events=50) as worker,
    ):
        await publish(log, samples[:100], owners)
        assert await asyncio.to_thread(inside.wait, 20)
        everything = [(p.kind, p.partition) for p in await bench.partitions.progress()]
        usurping = asyncio.create_task(bench.partitions.claim(everything, "usurper"))
        await publish(log, samples[100:], owners)
        go_on.set()
        claims = await usurping
        await until(lambda: worker.heard.fences > 0)
        # The usurper does nothing. After a while the partitions are claimed back.
        await bench.drained()
        owned = {p.owner for p in await bench.partitions.progress()}
    assert len(claims) == 8
    assert owned == {worker.owner}
    exact(database_url, samples, owners)


async def test_a_record_in_the_wrong_partition_is_counted_once_in_the_right_one(kafka: str, database_url: str) -> None:
    owners = organizations(database_url)
    samples = [trade(f"t{n}", organization=n % 2) for n in range(30)]
    async with log_bench(kafka, database_url) as bench, bench.log() as log, bench.worker() as worker:
        await publish(log, samples[:10], owners)
        for number, sample in enumerate(samples):
            (event,) = accepted([sample])
            await bench.produce(
                "trade", event_json(event), organization=owners[sample.organization], key=b"user", partition=number % 3
            )
        await bench.drained()
        await bench.drained()
    assert worker.heard.strays > 10
    assert worker.heard.dead == 0
    exact(database_url, samples, owners)


async def test_the_marks_of_other_producers_transactions_are_no_lag(kafka: str, database_url: str) -> None:
    owners = organizations(database_url, 1)
    samples = [view(f"v{n}") for n in range(6)]
    events = accepted(samples)
    async with log_bench(kafka, database_url, partitions=1) as bench, bench.worker():
        producer = AIOKafkaProducer(**bench.cluster.client(), transactional_id=f"{bench.cluster.prefix}-other")
        await producer.start()
        try:
            for number, event in enumerate(events):
                await producer.begin_transaction()
                await producer.send(
                    bench.cluster.topic("view"),
                    event_json(event),
                    key=keys(owners[0], "view", [event])[0],
                    headers=[("organization", str(owners[0]).encode())],
                )
                await (producer.abort_transaction() if number % 2 else producer.commit_transaction())
        finally:
            await producer.stop()
        # The last one was taken back, and its mark is the log's end.
        await bench.drained()
    exact(database_url, samples[::2], owners)


async def dead_reasons(bench: Bench) -> dict[str, int]:
    """How many there are of each reason."""
    from collections import Counter

    from storage.dead_letters import DeadLetters

    return Counter(row.reason for row in await DeadLetters(bench.database).listed(limit=None, reason=None))


async def test_poison_is_put_away_with_its_reason_and_its_neighbours_are_counted(kafka: str, database_url: str) -> None:
    run(database_url, "alter table store.event_system add constraint poison check (host <> 'poison')")
    owners = organizations(database_url, 1)
    good = [system(f"e{n}") for n in range(20)]
    (event,) = accepted([system("foreign")])
    async with log_bench(kafka, database_url, partitions=1) as bench, bench.log() as log:
        await publish(log, [*good[:10], system("bad", host="poison"), *good[10:]], owners)
        await bench.produce("system", b'{"specversion": "1.0"', organization=owners[0])
        await bench.produce("system", event_json(event), organization=None)
        await bench.produce("system", event_json(event), organization=b"nobody")
        await bench.produce("system", None, organization=owners[0])
        await bench.produce("system", event_json(event), organization=owners[0], key=None)
        async with bench.worker() as worker:
            await bench.drained()
        assert worker.heard.dead == 5
        reasons = await dead_reasons(bench)
    assert len(reasons) == 5
    assert any("violates check constraint" in reason for reason in reasons)
    assert "organization: the header is missing" in reasons
    exact(database_url, [*good, system("foreign")], owners)


async def test_too_many_dead_letters_stop_the_worker_and_pass_nothing(kafka: str, database_url: str) -> None:
    owners = organizations(database_url, 1)
    async with log_bench(kafka, database_url, partitions=1) as bench, bench.log() as log:
        for _ in range(3):
            await bench.produce("view", b"{}", organization=owners[0])
        async with bench.worker(dead_letter_limit=2) as worker:
            await asyncio.wait([worker.task], timeout=20)
            with pytest.raises(TooManyDeadLetters, match="STREAMGAUGE_DEAD_LETTER_LIMIT"):
                worker.task.result()
        bench.workers.clear()
        assert await dead_reasons(bench) == {}
        assert scalar(database_url, "select sum(next_offset) from store.log_partition") == 0
        # Mended (here: allowed), it goes on where it was.
        await publish(log, [view("v")], owners)
        async with bench.worker(dead_letter_limit=3):
            await bench.drained()
        assert sum((await dead_reasons(bench)).values()) == 3
    assert count(database_url, "view") == 1


async def test_a_database_that_goes_away_is_waited_for(kafka: str, database_url: str) -> None:
    owners = organizations(database_url)
    samples = mixture(120)
    async with log_bench(kafka, database_url) as bench, bench.log() as log, bench.worker(group_events=20) as worker:
        await publish(log, samples[:40], owners)
        run(database_url, "alter table store.feed rename to feed_away")
        await publish(log, samples[40:80], owners)
        await until(lambda: len(worker.heard.failures) > 0, 20)
        run(
            database_url,
            "alter table store.feed_away rename to feed",
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where application_name like 'streamgauge%' and datname = current_database()",
        )
        await publish(log, samples[80:], owners)
        await bench.drained(40)
    exact(database_url, samples, owners)


async def delete_before(bench: Bench, offsets: dict[tuple[str, int], int]) -> None:
    """Does what Kafka's retention does."""
    client = AIOKafkaAdminClient(**bench.cluster.client())
    await client.start()
    try:
        await client.delete_records(
            {
                TopicPartition(bench.cluster.topic(k), p): RecordsToDelete(before_offset=o)
                for (k, p), o in offsets.items()
            }
        )
    finally:
        await client.close()


async def test_records_that_retention_took_are_told_of(kafka: str, database_url: str) -> None:
    owners = organizations(database_url, 1)
    samples = [view(f"v{n}") for n in range(20)]
    async with log_bench(kafka, database_url, partitions=1) as bench, bench.log() as log:
        async with bench.worker():
            await publish(log, samples[:5], owners)
            await bench.drained()
        await publish(log, samples[5:], owners)
        await delete_before(bench, {("view", 0): 12})
        async with bench.worker() as worker:
            await bench.drained()
    assert worker.heard.lost == 7
    exact(database_url, samples[:5] + samples[12:], owners)


async def make_anew(bench: Bench, kind: str) -> None:
    """Deletes a topic and makes it again."""
    client = AIOKafkaAdminClient(**bench.cluster.client())
    await client.start()
    try:
        await client.delete_topics([bench.cluster.topic(kind)])
        while bench.cluster.topic(kind) in await client.list_topics():  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0.05)
    finally:
        await client.close()
    await ensure_topics(bench.cluster, {kind: bench.count}, TopicShape())


@pytest.mark.parametrize("more", [5, 20])
async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(kafka: str, database_url: str, more: int) -> None:
    """The offset that the database says lies behind the new log's end, or, which is harder to tell, in its middle."""
    owners = organizations(database_url, 1)
    samples = [view(f"v{n}") for n in range(10 + more)]
    async with log_bench(kafka, database_url, partitions=1) as bench:
        async with bench.log() as log, bench.worker():
            await publish(log, samples[:10], owners)
            await bench.drained()
        await make_anew(bench, "view")
        async with bench.log() as log:
            await publish(log, samples[10:], owners)
            async with bench.worker() as worker:
                await bench.drained()
    assert worker.heard.lost > 0
    exact(database_url, samples, owners)


async def test_a_topic_that_is_made_anew_under_a_worker(kafka: str, database_url: str) -> None:
    owners = organizations(database_url, 1)
    samples = [view(f"v{n}") for n in range(15)]
    async with log_bench(kafka, database_url, partitions=1) as bench, bench.worker() as worker:
        async with bench.log() as log:
            await publish(log, samples[:10], owners)
            await bench.drained()
        await make_anew(bench, "view")
        async with bench.log() as log:
            await publish(log, samples[10:], owners)
            await until(lambda: worker.heard.counted == 15, 40)
    assert worker.heard.lost > 0
    exact(database_url, samples, owners)


@pytest.mark.parametrize("lag", [0, 30])
async def test_an_answers_freshness_is_that_of_the_least_fresh_partition(
    kafka: str, database_url: str, lag: int
) -> None:
    owners = organizations(database_url, 1)
    async with log_bench(kafka, database_url, partitions=2) as bench, bench.log() as log:
        before = scalar(database_url, "select clock_timestamp()")
        await publish(log, [view(f"v{n}") for n in range(lag)], owners)
        after = scalar(database_url, "select clock_timestamp()")

        async def fresh() -> Any:
            return min(p.fresh_until for p in await bench.partitions.progress())

        if lag:
            assert await fresh() < before
        async with bench.worker():
            await bench.drained()
            await reached(fresh, after)
        # Without a worker nobody says that anything newer is counted.
        stopped = await fresh()
        await publish(log, [view("late")], owners)
        assert await fresh() == stopped


async def reached(ask: Callable[[], Any], moment: Any) -> None:
    """Waits until it is at least so late."""
    async with asyncio.timeout(20):
        while await ask() < moment:  # noqa: ASYNC110  (what is waited for has no event of its own)
            await asyncio.sleep(0.1)
