"""Dead letters as the database knows them: only what stands here was passed without being counted, and only once each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

from psycopg.rows import class_row

from storage.database import Database
from storage.named import load


@dataclass(frozen=True)
class DeadLetterRow:
    """Where the record stood, whose it says it is, why it was passed, when, and when it was sent again, if it was."""

    kind: str
    partition: int
    log_offset: int
    organization: str | None
    reason: str
    dead_at: dt.datetime
    replayed_at: dt.datetime | None


@dataclass(frozen=True)
class DeadLetterNumbers:
    """How many wait to be sent again, how many were, and how many there were in the last ten minutes."""

    waiting: int
    replayed: int
    recent: int


class DeadLetters:
    """Reads and marks the rows that the sink writes in the transaction that passes a record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def listed(self, *, limit: int | None, reason: str | None, replayed: bool = False) -> list[DeadLetterRow]:
        """The newest first; with a `reason` those whose reason contains it, in any case."""
        async with (
            self._database.service() as connection,
            connection.cursor(row_factory=class_row(DeadLetterRow)) as cursor,
        ):
            await cursor.execute(load("log")["dead_letters"], {"limit": limit, "reason": reason, "replayed": replayed})
            return await cursor.fetchall()

    async def numbers(self) -> DeadLetterNumbers:
        """How many there are."""
        async with self._database.service() as connection:
            row = await (await connection.execute(load("log")["count_dead_letters"])).fetchone()
            assert row is not None
            return DeadLetterNumbers(*row)

    async def mark_replayed(self, places: Collection[tuple[str, int, int]]) -> None:
        """Remembers that these (kind, partition, offset) were sent again."""
        async with self._database.service() as connection:
            await connection.execute(
                load("log")["mark_replayed"],
                {
                    "kinds": [kind for kind, _, _ in places],
                    "partitions": [partition for _, partition, _ in places],
                    "offsets": [offset for _, _, offset in places],
                },
            )

    async def prune(self, *, days: int) -> int:
        """Forgets those that are older than that; Kafka's retention has taken their records long before. Returns how many."""
        async with self._database.service() as connection:
            cursor = await connection.execute(load("log")["prune_dead_letters"], {"days": days})
            return cursor.rowcount
