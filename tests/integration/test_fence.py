"""The fence: a partition's position moves with its events, for its owner only, and what was known in other partitions stays known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from uuid import UUID

import pytest

from aggregators.definitions import ROLLUPS
from ingest.identity import keys
from ingest.log import DeadLetter, Fenced, Outcome, Position
from ingest.partitions import home_partitions
from storage.database import Database
from storage.ledger import LedgerLimits
from storage.log_partitions import Claim, LogPartitions
from storage.retention import prune_ledgers
from storage.sink import DatabaseSink
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
from tests.samples import Sample, batches, system, trade, view

KINDS = ("enterprise", "system", "trade", "view")


@contextmanager
def sink(url: str, **options: object) -> Iterator[DatabaseSink]:
    """A sink that is closed at the end."""
    made = DatabaseSink(url, ROLLUPS, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


class Partitions:
    """The table of partitions, asked from a test that has no event loop."""

    def __init__(self, url: str, counts: dict[str, int]) -> None:
        self._url = url
        self.counts = counts

    async def register(self) -> None:
        """Enters the kinds."""
        await self._with(lambda table: table.register(self.counts))

    async def claim(self, owner: str, *places: tuple[str, int]) -> dict[tuple[str, int], Claim]:
        """Claims partitions, all of them by default."""
        wanted = places or [(kind, number) for kind, count in self.counts.items() for number in range(count)]
        claims = await self._with(lambda table: table.claim(wanted, owner))
        return {(claim.kind, claim.partition): claim for claim in claims}

    async def raise_count(self, kind: str, count: int) -> None:
        """Another number."""
        await self._with(lambda table: table.raise_count(kind, count))
        self.counts[kind] = count

    async def _with(self, ask):  # type: ignore[no-untyped-def]
        database = Database(self._url, size=1)
        await database.open()
        try:
            return await ask(LogPartitions(database))
        finally:
            await database.close()


def position(claim: Claim, next_: int, expected: int | None = None) -> Position:
    """A position that a claim moves."""
    start = claim.next_offset if expected is None else expected
    return Position(claim.kind, claim.partition, claim.partitions, claim.epoch, start, next_)


def homes(samples: Sequence[Sample], owners: Sequence[UUID], count: int) -> list[tuple[str, int]]:
    """The partition of each event."""
    found = []
    for sample, batch in ((sample, batches([sample], owners)[0]) for sample in samples):
        kind = batch.events[0].kind
        key = keys(batch.organization, kind, batch.events)[0]
        found.append((kind, int(home_partitions(key, count)[0])))
        assert sample.event["type"] == kind
    return found


async def test_only_the_owner_moves_a_partition_and_only_from_where_it_is(database_url: str) -> None:
    (owner,) = organizations(database_url, 1)
    partitions = Partitions(database_url, {"system": 1})
    await partitions.register()
    first = (await partitions.claim("a"))["system", 0]
    group = batches([system("x")], [owner])
    with sink(database_url) as one, sink(database_url) as other:
        assert one.write(group, None, [position(first, 10)]).counted == 1
        with pytest.raises(Fenced) as again:
            one.write(group, None, [position(first, 10)])
        assert again.value.partitions == [("system", 0)]
        second = (await partitions.claim("b"))["system", 0]
        assert (second.next_offset, second.epoch) == (10, first.epoch + 1)
        # The zombie, which has not heard that it lost the partition.
        with pytest.raises(Fenced):
            one.write(batches([system("y")], [owner]), None, [position(first, 20, 10)])
        assert count(database_url, "system") == 1
        assert other.write(batches([system("y")], [owner]), None, [position(second, 20)]).counted == 1
        # Fenced once, it works again with what it is given anew.
        third = (await partitions.claim("a"))["system", 0]
        assert one.write(batches([system("y"), system("z")], [owner]), None, [position(third, 22)]).counted == 1
    assert scalar(database_url, "select next_offset from store.log_partition") == 22
    assert found_differences(database_url) == []


async def test_one_lost_partition_keeps_the_whole_group_out(database_url: str) -> None:
    (owner,) = organizations(database_url, 1)
    partitions = Partitions(database_url, {"system": 2, "view": 1})
    await partitions.register()
    mine = await partitions.claim("a")
    await partitions.claim("b", ("system", 1))
    with sink(database_url) as one:
        with pytest.raises(Fenced) as refused:
            one.write(batches([view("v")], [owner]), None, [position(mine[place], 5) for place in sorted(mine)])
        assert refused.value.partitions == [("system", 1)]
    assert count(database_url, "view") == 0
    assert scalar(database_url, "select sum(next_offset) from store.log_partition") == 0


async def test_refused_events_hold_the_position_until_they_are_put_away(database_url: str) -> None:
    run(database_url, "alter table store.event_system add constraint poison check (host <> 'poison')")
    (owner,) = organizations(database_url, 1)
    partitions = Partitions(database_url, {"system": 1})
    await partitions.register()
    claim = (await partitions.claim("a"))["system", 0]
    group = batches([system(f"e{n}", host="poison" if n in (3, 8) else "web") for n in range(10)], [owner])
    with sink(database_url) as one:
        outcome = one.write(group, None, [position(claim, 10)])
        assert ([refusal.position for refusal in outcome.refusals[0]], outcome.moved) == ([3, 8], False)
        assert outcome.counted == 8
        assert scalar(database_url, "select next_offset from store.log_partition") == 0
        dead = [DeadLetter("system", 0, offset, str(owner), "poison") for offset in (3, 8)]
        assert one.write([], [], [position(claim, 10)], dead).moved
        assert scalar(database_url, "select next_offset from store.log_partition") == 10
        assert scalar(database_url, "select array_agg(log_offset order by log_offset) from store.dead_letter") == [3, 8]
        # A zombie counts nothing of a group that must be halved, either.
        await partitions.claim("b")
        more = batches([system("new"), system("poison", host="poison")], [owner])
        with pytest.raises(Fenced):
            one.write(more, None, [position(claim, 12, 10)])
    assert count(database_url, "system") == 8


async def test_a_group_that_dies_half_way_through_its_halves_counts_once(database_url: str) -> None:
    run(database_url, "alter table store.event_system add constraint poison check (host <> 'poison')")
    (owner,) = organizations(database_url, 1)
    partitions = Partitions(database_url, {"system": 1})
    await partitions.register()
    claim = (await partitions.claim("a"))["system", 0]
    group = batches([system(f"e{n}", host="poison" if n == 3 else "web") for n in range(10)], [owner])
    with sink(database_url) as one:
        assert not one.write(group, None, [position(claim, 10)]).moved
    # Nobody put the refused one away; the next owner reads all of it again.
    claim = (await partitions.claim("b"))["system", 0]
    assert claim.next_offset == 0
    with sink(database_url) as other:
        outcome = other.write(group, None, [position(claim, 10)])
        assert (outcome.counted, outcome.known) == (0, 9)
    assert count(database_url, "system") == 9
    assert found_differences(database_url) == []


async def test_owners_of_different_partitions_write_the_same_rollups_at_once(database_url: str) -> None:
    owners = organizations(database_url)
    partitions = Partitions(database_url, dict.fromkeys(KINDS, 3))
    await partitions.register()
    samples = mixture(600)
    places = homes(samples, owners, 3)
    claims = await partitions.claim("everybody")

    def writer(number: int) -> list[Outcome]:
        mine = [s for s, (_, place) in zip(samples, places, strict=True) if place == number]
        order = mine + Random(number).sample(mine, len(mine) // 2)
        outcomes = []
        with sink(database_url, limits=LedgerLimits(slice_ids=60)) as one:
            for at, start in enumerate(range(0, len(order), 40)):
                moves = [position(claims[kind, number], at + 1, at) for kind in KINDS]
                outcomes.append(one.write(batches(order[start : start + 40], owners), None, moves))
        return outcomes

    with ThreadPoolExecutor(3) as pool:
        outcomes = [outcome for outcomes in pool.map(writer, range(3)) for outcome in outcomes]
    assert sum(outcome.counted for outcome in outcomes) == 600
    assert len(raw_identities(database_url, owners)) == 600
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
    assert scalar(database_url, "select deadlocks from pg_stat_database where datname = current_database()") == 0
    assert scalar(database_url, "select count(distinct kind) from store.ledger_slice") > 3
    assert found_differences(database_url) == []


async def test_what_was_counted_is_known_whatever_the_number_of_partitions(database_url: str) -> None:
    """Directly, then in 2 partitions, then in 6, then directly again: an identity stays known."""
    owners = organizations(database_url, 1)
    small = LedgerLimits(slice_ids=20)
    samples = [trade(f"t{n}") for n in range(240)]

    async def write(chosen: Sequence[Sample], number: int) -> tuple[int, int]:
        counted = known = 0
        claims = await partitions.claim("w") if number else {}
        with sink(database_url, limits=small) as one:
            for place in range(max(1, number)):
                mine = [
                    sample
                    for sample, (_, home) in zip(chosen, homes(chosen, owners, max(1, number)), strict=True)
                    if home == place
                ]
                for start in range(0, len(mine), 15):
                    claim = claims.get(("trade", place))
                    moves = [] if claim is None else [position(claim, start + 15, start)]
                    if claim is not None and start == 0:
                        run(database_url, f"update store.log_partition set next_offset = 0 where partition = {place}")
                    outcome = one.write(batches(mine[start : start + 15], owners), None, moves)
                    counted, known = counted + outcome.counted, known + outcome.known
        return counted, known

    partitions = Partitions(database_url, {"trade": 2})
    assert await write(samples[:60], 0) == (60, 0)
    await partitions.register()
    assert await write(samples[:120], 2) == (60, 60)
    await partitions.raise_count("trade", 6)
    assert await write(samples[:180], 6) == (60, 120)
    assert await write(samples, 0) == (60, 180)
    assert await write(samples, 6) == (0, 240)
    assert count(database_url, "trade") == 240
    assert scalar(database_url, "select count(distinct kind) from store.ledger_slice") >= 1
    assert found_differences(database_url) == []


async def test_partitions_that_fill_evenly_seal_one_after_the_other(database_url: str) -> None:
    owners = organizations(database_url, 1)
    partitions = Partitions(database_url, {"trade": 4})
    await partitions.register()
    claims = await partitions.claim("w")
    samples = [trade(f"t{n}") for n in range(400)]
    of_partition: list[list[Sample]] = [[], [], [], []]
    for sample, (_, home) in zip(samples, homes(samples, owners, 4), strict=True):
        of_partition[home].append(sample)
    slices = [0]
    with sink(database_url, limits=LedgerLimits(slice_ids=40)) as one:
        for at, evenly in enumerate(list(zip(*of_partition, strict=False))[:60]):
            moves = [position(claims["trade", place], at + 1, at) for place in range(4)]
            assert one.write(batches(list(evenly), owners), None, moves).counted == 4
            slices.append(int(scalar(database_url, "select count(*) from store.ledger_slice")))
    assert slices[-1] >= 16
    assert max(after - before for before, after in itertools.pairwise(slices)) == 1


async def test_raising_the_number_fences_everybody(database_url: str) -> None:
    (owner,) = organizations(database_url, 1)
    partitions = Partitions(database_url, {"view": 1})
    await partitions.register()
    old = (await partitions.claim("a"))["view", 0]
    await partitions.raise_count("view", 2)
    with sink(database_url) as one, pytest.raises(Fenced):
        one.write(batches([view("v")], [owner]), None, [position(old, 1)])
    claims = await partitions.claim("a")
    assert {place: claim.partitions for place, claim in claims.items()} == {("view", 0): 2, ("view", 1): 2}
    await partitions.raise_count("view", 2)
    assert scalar(database_url, "select previous from store.log_topic") == [1]


async def test_ledgers_that_nobody_writes_any_more_are_forgotten_after_their_window(database_url: str) -> None:
    (owner,) = organizations(database_url, 1)
    small = LedgerLimits(slice_ids=5)
    partitions = Partitions(database_url, {"view": 1})
    await partitions.register()
    for count_, names in ((1, "abcdefghijklmnop"), (2, "q")):
        await partitions.raise_count("view", count_)
        claims = await partitions.claim("w")
        samples = [view(name) for name in names]
        with sink(database_url, limits=small) as one:
            for at, sample in enumerate(samples):
                (place,) = homes([sample], [owner], count_)
                claim = claims[place]
                one.write(
                    batches([sample], [owner]),
                    None,
                    [position(claim, claim.next_offset + at + 1, claim.next_offset + at)],
                )
    run(
        database_url,
        "update store.ledger set accepted_at = now() - interval '3 days'",
        "update store.ledger_slice set last_at = now() - interval '3 days'",
    )
    assert scalar(database_url, "select count(*) from store.ledger_slice") > 0
    database = Database(database_url, size=1)
    await database.open()
    try:
        assert await prune_ledgers(database, hours=24 * 7) == 0
        assert await prune_ledgers(database, hours=48) > 1
    finally:
        await database.close()
    assert scalar(database_url, "select count(*) from store.ledger_slice") == 0
    assert scalar(database_url, "select count(*) from store.ledger where kind like 'view/%/2'") == 1
    assert scalar(database_url, "select count(*) from store.ledger") == 1
