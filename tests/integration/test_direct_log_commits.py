"""The direct log over the real sink: many senders at once, one of them with a poisoned event, all counted once after the answer."""

from __future__ import annotations

import asyncio

import pytest

from aggregators.definitions import ROLLUPS
from ingest.direct import DirectLog
from ingest.log import Outcome, Unavailable
from storage.sink import DatabaseSink
from tests.integration.stored import count, found_differences, organizations, run, scalar
from tests.samples import batches, system


class Commits:
    """Telemetry that keeps what was committed."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.failures = 0

    def queued(self, events: int) -> None:
        """Nothing to keep."""

    def committed(self, outcome: Outcome, seconds: float) -> None:
        """Keeps it."""
        self.outcomes.append(outcome)

    def failed(self, error: BaseException) -> None:
        """Counts it."""
        self.failures += 1


async def test_many_senders_share_transactions_and_each_hears_of_its_own_refusals(database_url: str) -> None:
    run(database_url, "alter table store.event_system add constraint poison check (host <> 'poison')")
    owners = organizations(database_url)
    commits = Commits()
    sink = DatabaseSink(database_url, ROLLUPS)
    log = DirectLog(sink, commits)

    async def sender(number: int) -> list[int]:
        hosts = ["web", "poison" if number == 13 else "web", "web"]
        samples = [system(f"s{number}-{n}", host=host, organization=number % 2) for n, host in enumerate(hosts)]
        (batch,) = batches(samples, owners)
        return [refusal.position for refusal in await log.publish(batch)]

    answers = await asyncio.gather(*map(sender, range(60)), *map(sender, range(20)))
    assert [number for number, answer in enumerate(answers) if answer] == [13, 60 + 13]
    assert answers[13] == answers[60 + 13] == [1]
    await log.close()
    sink.close()
    assert count(database_url, "system") == 60 * 3 - 1
    assert sum(outcome.counted for outcome in commits.outcomes) == 60 * 3 - 1
    assert len(commits.outcomes) < 20
    assert found_differences(database_url) == []


async def test_an_answer_comes_after_the_commit(database_url: str) -> None:
    owners = organizations(database_url, 1)
    sink = DatabaseSink(database_url, ROLLUPS)
    log = DirectLog(sink, Commits())
    for number in range(5):
        await log.publish(batches([system(f"e{number}")], owners)[0])
        assert count(database_url, "system") == number + 1
        assert scalar(database_url, "select sum(count) from store.rollup_system_metrics_1d") == number + 1
    await log.close()
    sink.close()


async def test_an_outage_is_told_to_those_it_concerns_and_then_over(database_url: str) -> None:
    owners = organizations(database_url, 1)
    commits = Commits()
    sink = DatabaseSink(database_url, ROLLUPS)
    log = DirectLog(sink, commits)
    (batch,) = batches([system("a"), system("b")], owners)
    run(database_url, "alter table store.feed rename to feed_away")
    with pytest.raises(Unavailable):
        await log.publish(batch)
    run(database_url, "alter table store.feed_away rename to feed")
    assert await log.publish(batch) == []
    await log.close()
    sink.close()
    assert (commits.failures, count(database_url, "system")) == (1, 2)
