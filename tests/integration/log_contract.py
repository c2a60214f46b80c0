"""What every log promises, in one suite: the direct log over the sink, and Kafka's log with a worker, are held to it alike.

A test module subclasses `LogContract` and says how its log is opened. `settled` waits until what was accepted is counted; with the
direct log that is so when `publish` answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol
from uuid import UUID

import pytest

from ingest.log import Log, Unavailable
from tests.integration.stored import (
    count,
    found_differences,
    organizations,
    raw_identities,
    reaction_rows,
    rollup_rows,
    run,
    scalar,
)
from tests.integration.test_sink_writers import mixture
from tests.one_pass import differences, one_pass, reactions
from tests.samples import START, Sample, batches, enterprise, system, trade, view


@dataclass
class Opened:
    """A log at work. `refused` are the reasons of the events that were refused after `publish`, if any can be."""

    log: Log
    settling: Settling

    async def send(self, samples: Sequence[Sample], owners: Sequence[UUID]) -> list[int]:
        """Publishes batch by batch; returns the places of the events that were refused."""
        refused: list[int] = []
        place = 0
        for batch in batches(samples, owners):
            refused += [place + refusal.position for refusal in await self.log.publish(batch)]
            place += len(batch.events)
        return refused


class Settling(Protocol):
    """The part of a log that a test waits for."""

    async def settled(self) -> None:
        """Returns once everything accepted is counted or put away."""

    async def put_away(self) -> list[str]:
        """The reasons of what could not be counted, in any order."""


class LogContract:
    """The promises. `queue_events` bounds what waits, `opened` gives a log over this database."""

    def opened(self, url: str, *, queue_events: int = 100_000) -> AbstractAsyncContextManager[Opened]:
        """A log that is closed at the end."""
        raise NotImplementedError

    async def test_what_is_accepted_is_counted_once_however_often_it_comes(self, database_url: str) -> None:
        owners = organizations(database_url)
        samples = mixture(160)
        async with self.opened(database_url) as log:
            assert await log.send(samples, owners) == []
            assert await log.send(samples[40:120], owners) == []
            await asyncio.gather(*(log.send(samples, owners) for _ in range(3)))
            await log.settling.settled()
        expected = sorted((owners[s.organization], s.event["type"], s.event["source"], s.event["id"]) for s in samples)
        assert raw_identities(database_url, owners) == expected
        assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
        assert found_differences(database_url) == []

    async def test_the_same_event_is_its_identity_whatever_else_it_says(self, database_url: str) -> None:
        owners = organizations(database_url)
        first = system("same", 1.0)
        again = [
            system("same", 99.0, host="web-2"),
            system("same", 1.0, time=START.replace(year=2024).isoformat()),
        ]
        others = [
            system("same", 2.0, organization=1),
            system("same", 2.0, source="another"),
            view("same"),
            trade("same"),
        ]
        async with self.opened(database_url) as log:
            await log.send([first], owners)
            await log.settling.settled()
            await log.send([*again, *others], owners)
            await log.settling.settled()
        assert differences(one_pass([first, *others], owners), rollup_rows(database_url, owners)) == []

    async def test_a_source_that_numbers_its_events(self, database_url: str) -> None:
        owners = organizations(database_url, 1)

        async with self.opened(database_url) as log:
            for numbers in ((0, 1, 5), (0, 1, 5), (6, 7), (7, 8), (5,), (0, 8)):
                await log.send([_numbered(n) for n in numbers], owners)
            await log.settling.settled()
        assert sorted(name for _, _, _, name in raw_identities(database_url, owners)) == [
            f"n{n}" for n in (0, 1, 5, 6, 7, 8)
        ]

    async def test_digits_and_awkward_names_arrive_as_they_were_sent(self, database_url: str) -> None:
        owners = organizations(database_url, 1)
        samples = [
            trade("a", "0.1", symbol='\\N"', user_id="ß漢\U0001f600", strategy="'; drop table x; --"),
            trade("b", None, quantity=Decimal("1e-18"), entry_price=Decimal(1), exit_price=Decimal(10**18 - 1)),
            enterprise("c", "123456789012345678.123456789012345678", team_type="{NULL}"),
            system("d", 1e-200, host="new\nline"),
            system("e", -1e18),
            view("f", "like", user_id="a\\"),
        ]
        async with self.opened(database_url) as log:
            assert await log.send(samples, owners) == []
            await log.settling.settled()
            assert await log.settling.put_away() == []
        assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
        assert reaction_rows(database_url, owners) == reactions(samples, owners)
        assert found_differences(database_url) == []

    async def test_an_event_that_the_database_refuses_is_told_of_and_takes_nobody_along(
        self, database_url: str
    ) -> None:
        run(database_url, "alter table store.event_system add constraint poison check (host <> 'poison')")
        owners = organizations(database_url)
        samples = [
            system(f"e{n}", host="poison" if n in (4, 17) else "web", organization=n // 10 % 2) for n in range(40)
        ]
        async with self.opened(database_url) as log:
            refused = await log.send(samples, owners)
            await log.settling.settled()
            reasons = await log.settling.put_away()
        assert len(refused) + len(reasons) == 2
        assert all("poison" in reason for reason in reasons)
        kept = [sample for n, sample in enumerate(samples) if n not in (4, 17)]
        assert differences(one_pass(kept, owners), rollup_rows(database_url, owners)) == []

    async def test_a_full_queue_refuses_at_once_and_takes_events_again_later(self, database_url: str) -> None:
        owners = organizations(database_url, 1)
        async with self.opened(database_url, queue_events=1_000) as log:
            many = [batches([system(f"{number}-{n}") for n in range(200)], owners)[0] for number in range(30)]
            found = await asyncio.gather(*(log.log.publish(batch) for batch in many), return_exceptions=True)
            refused = [answer for answer in found if isinstance(answer, Unavailable)]
            assert refused
            assert all("full" in answer.reason and answer.retry_after > 0 for answer in refused)
            assert [answer for answer in found if answer != [] and not isinstance(answer, Unavailable)] == []
            for batch, answer in zip(many, found, strict=True):
                if isinstance(answer, Unavailable):
                    assert await log.log.publish(batch) == []
            await log.settling.settled()
        assert count(database_url, "system") == 30 * 200

    async def test_a_batch_may_be_larger_than_the_queue(self, database_url: str) -> None:
        owners = organizations(database_url, 1)
        async with self.opened(database_url, queue_events=1_000) as log:
            assert await log.send([view(f"v{n}") for n in range(3_000)], owners) == []
            await log.settling.settled()
        assert count(database_url, "view") == 3_000

    async def test_a_caller_that_goes_away_takes_nobody_along(self, database_url: str) -> None:
        owners = organizations(database_url, 1)
        async with self.opened(database_url) as log:
            leaving = [asyncio.create_task(log.send([view(f"l{n}")], owners)) for n in range(10)]
            staying = [asyncio.create_task(log.send([view(f"s{n}")], owners)) for n in range(10)]
            await asyncio.sleep(0)
            for task in leaving:
                task.cancel()
            assert await asyncio.gather(*staying) == [[]] * 10
            await log.send([view(f"l{n}") for n in range(10)], owners)
            await log.settling.settled()
        assert count(database_url, "view") == 20

    async def test_after_closing_nothing_is_taken_and_nothing_accepted_is_lost(self, database_url: str) -> None:
        owners = organizations(database_url, 1)
        async with self.opened(database_url) as log:
            assert await log.send([view(f"v{n}") for n in range(50)], owners) == []
            await log.log.close()
            with pytest.raises(Unavailable, match="stopping"):
                await log.send([view("late")], owners)
            await log.settling.settled()
        assert count(database_url, "view") == 50
        assert scalar(database_url, "select sum(events) from store.feed") == 50


def _numbered(number: int) -> Sample:
    return system(f"n{number}", source="import/x", sequence=number)
