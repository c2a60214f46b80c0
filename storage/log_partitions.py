"""Kafka's partitions as the database knows them: how many there are, who owns each, how far it is counted and how fresh that is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from storage.database import AsyncConn, Database
from storage.named import load

Place = tuple[str, int]
"""A kind and one of its partitions."""


@dataclass(frozen=True)
class LogTopic:
    """A kind's topic: its number of partitions, and whether it takes no events because that number is being raised."""

    kind: str
    partitions: int
    draining: bool


@dataclass(frozen=True)
class Claim:
    """What an owner may do with a partition: `epoch` lets it move the offset on from `next_offset`."""

    kind: str
    partition: int
    partitions: int
    epoch: int
    next_offset: int
    appended_at: dt.datetime | None


@dataclass(frozen=True)
class Owner:
    """Who has a partition, and how far it is."""

    kind: str
    partition: int
    owner: str | None
    epoch: int
    next_offset: int


@dataclass(frozen=True)
class Progress:
    """How far a partition is counted. `moved_ago`, `seen_ago`: seconds since it moved, and since its owner looked at it."""

    kind: str
    partition: int
    next_offset: int
    owner: str | None
    fresh_until: dt.datetime
    moved_ago: float
    seen_ago: float | None


class LogPartitions:
    """The tables behind Kafka's log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, counts: Mapping[str, int]) -> list[LogTopic]:
        """Enters kinds that are new here, each with that many partitions; returns all. A kind that is known keeps its number."""
        async with self._database.service() as connection:
            for kind, partitions in sorted(counts.items()):
                await connection.execute(load("log")["register_topic"], {"kind": kind, "partitions": partitions})
            await connection.execute(load("log")["register_partitions"])
            return await _all(connection, LogTopic, "topics")

    async def topics(self) -> list[LogTopic]:
        """Every kind's topic."""
        async with self._database.service() as connection:
            return await _all(connection, LogTopic, "topics")

    async def claim(self, places: Collection[Place], owner: str) -> list[Claim]:
        """Makes `owner` the only one who may move these partitions on; what others hold of them is worth nothing from now on.

        Waits for a transaction that is moving one of them. Partitions that the database does not know yet are left out.
        """
        async with self._database.service() as connection:
            return await _all(connection, Claim, "claim", {**_places(places), "owner": owner})

    async def owners(self, places: Collection[Place]) -> list[Owner]:
        """Who has these partitions."""
        async with self._database.service() as connection:
            return await _all(connection, Owner, "owners", _places(places))

    async def skip(self, claim: Claim, expected: int, offset: int) -> bool:
        """Moves a partition to another offset without counting; False where the claim is no longer good."""
        async with self._database.service() as connection:
            cursor = await connection.execute(
                load("log")["skip"],
                {
                    "kind": claim.kind,
                    "partition": claim.partition,
                    "epoch": claim.epoch,
                    "expected": expected,
                    "next": offset,
                },
            )
            return cursor.rowcount == 1

    async def tell_fresh(self, fresh: Sequence[tuple[Claim, dt.datetime | None]]) -> list[Place]:
        """Says of partitions that are held up to when everything that was appended is counted; None says only that they are held.

        Returns those whose claim is no longer good.
        """
        if not fresh:
            return []
        async with self._database.service() as connection:
            cursor = await connection.execute(
                load("log")["tell_fresh"],
                {
                    **_places([(claim.kind, claim.partition) for claim, _ in fresh]),
                    "epochs": [claim.epoch for claim, _ in fresh],
                    "fresh": [time for _, time in fresh],
                },
            )
            told = set(await cursor.fetchall())
            return [place for claim, _ in fresh if (place := (claim.kind, claim.partition)) not in told]

    async def release(self, owner: str) -> None:
        """An owner ends; its partitions are nobody's until they are claimed."""
        async with self._database.service() as connection:
            await connection.execute(load("log")["release"], {"owner": owner})

    async def progress(self) -> list[Progress]:
        """How far every partition is."""
        async with self._database.service() as connection:
            return await _all(connection, Progress, "progress")

    async def begin_draining(self, kind: str) -> tuple[int, float]:
        """Lets no more events of a kind in; returns its number of partitions and since how many seconds it is so."""
        async with self._database.service() as connection:
            row = await (await connection.execute(load("log")["begin_draining"], {"kind": kind})).fetchone()
            if row is None:
                raise KeyError(kind)
            return int(row[0]), float(row[1])

    async def raise_count(self, kind: str, count: int) -> None:
        """Gives a drained kind its new number of partitions. Whoever held one of the old must claim it again, and learns of it."""
        async with self._database.service() as connection:
            await connection.execute(load("log")["raise_count"], {"kind": kind, "count": count})
            await connection.execute(load("log")["register_partitions"])
            await connection.execute(load("log")["fence_all"], {"kind": kind})

    async def end_draining(self, kind: str) -> None:
        """Lets events in again."""
        async with self._database.service() as connection:
            await connection.execute(load("log")["end_draining"], {"kind": kind})


def _places(places: Collection[Place]) -> dict[str, Any]:
    return {"kinds": [kind for kind, _ in places], "partitions": [partition for _, partition in places]}


async def _all(connection: AsyncConn, shape: type[Any], query: str, parameters: Any = None) -> list[Any]:
    async with connection.cursor(row_factory=class_row(shape)) as cursor:
        await cursor.execute(load("log")[query], parameters)
        return await cursor.fetchall()
