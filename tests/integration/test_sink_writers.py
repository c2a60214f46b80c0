"""Several sinks at once, and readers beside them: each event counts once, nobody waits in a ring, the feed keeps its order."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random

import psycopg

from aggregators.definitions import ROLLUPS
from ingest.log import Outcome
from storage.ledger import LedgerLimits
from storage.recompute import rebuild
from storage.sink import DatabaseSink
from tests.integration.stored import found_differences, organizations, raw_identities, rollup_rows, scalar
from tests.one_pass import differences, one_pass
from tests.samples import Sample, batches, enterprise, system, trade, view


def mixture(count: int) -> list[Sample]:
    """Events of all kinds by two organizations, over few keys, so that writers meet on the same rows."""
    samples: list[Sample] = []
    for number in range(count):
        name, owner = f"e{number}", number // 4 % 2
        samples.append(
            (
                system(name, number / 7, host=f"h{number % 3}", organization=owner),
                enterprise(name, f"{number}.25", organization=owner),
                trade(name, f"-{number}.000000000000000001", organization=owner),
                view(name, "like" if number % 8 else "dislike", organization=owner),
            )[number % 4]
        )
    return samples


def test_overlapping_writers_count_each_event_once(database_url: str) -> None:
    owners = organizations(database_url)
    samples = mixture(400)

    def writer(seed: int) -> list[Outcome]:
        order = list(samples)
        Random(seed).shuffle(order)
        sink = DatabaseSink(database_url, ROLLUPS, limits=LedgerLimits(slice_ids=50))
        try:
            return [sink.write(batches(order[start : start + 40], owners)) for start in range(0, len(order), 40)]
        finally:
            sink.close()

    with ThreadPoolExecutor(3) as pool:
        outcomes = [outcome for outcomes in pool.map(writer, range(3)) for outcome in outcomes]
    assert sum(outcome.counted for outcome in outcomes) == 400
    assert sum(outcome.known for outcome in outcomes) == 800
    assert all(refusals == [] for outcome in outcomes for refusals in outcome.refusals)
    assert len(raw_identities(database_url, owners)) == 400
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
    assert scalar(database_url, "select deadlocks from pg_stat_database where datname = current_database()") == 0
    assert found_differences(database_url) == []


def test_a_reader_never_passes_a_position_that_appears_later(database_url: str) -> None:
    owners = organizations(database_url)
    done = threading.Event()
    seen: list[int] = []

    def reader() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            last, finished = 0, False
            while not finished:
                finished = done.is_set()
                rows = connection.execute(
                    "select position from store.feed where position > %s order by position", (last,)
                ).fetchall()
                seen.extend(position for (position,) in rows)
                last = seen[-1] if seen else 0

    def writer(kind: int) -> None:
        sink = DatabaseSink(database_url, ROLLUPS)
        make = (system, view, enterprise, trade)[kind]
        try:
            for number in range(20):
                sink.write(batches([make(f"k{kind}-{number}", organization=number % 2)], owners))
        finally:
            sink.close()

    watching = threading.Thread(target=reader)
    watching.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(writer, range(4)))
    finally:
        done.set()
        watching.join()
    assert seen == list(range(1, 81))
    assert scalar(database_url, "select position from store.feed_head") == 80
    assert scalar(database_url, "select sum(events) from store.feed") == 80
    assert (
        scalar(
            database_url,
            "select count(*) from store.watermark w where position"
            " <> (select max(position) from store.feed f where (f.organization, f.kind) = (w.organization, w.kind))",
        )
        == 0
    )


def test_a_rebuild_mends_while_a_sink_keeps_writing(database_url: str) -> None:
    owners = organizations(database_url)
    samples = mixture(360)
    before, during = samples[:200], samples[200:]
    sink = DatabaseSink(database_url, ROLLUPS)
    sink.write(batches(before, owners))
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in (
            "update store.rollup_system_metrics_1m set sum = sum + 1",
            "delete from store.rollup_trade_pnl_1d",
            "update store.rollup_enterprise_metrics_15m set metric = metric || 'x'",
            "update store.rollup_video_engagement_1d set likes = likes + 5",
        ):
            connection.execute(statement)
    assert found_differences(database_url) != []
    with ThreadPoolExecutor(1) as pool:
        rebuilding = pool.submit(
            lambda: [rebuild(database_url, ROLLUPS, None, None, lambda *_: None) for _ in range(3)]
        )
        for start in range(0, len(during), 10):
            sink.write(batches(during[start : start + 10], owners))
        assert min(rebuilding.result(60)) > 0
    sink.close()
    assert found_differences(database_url) == []
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
