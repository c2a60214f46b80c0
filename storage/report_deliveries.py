"""Deliveries of reports as those who hand them over see them: claimed for a while, delivered once, tried again, or given up."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from psycopg.rows import class_row

from storage.database import AsyncConn, Database
from storage.named import load
from storage.notices import REPORT_DELIVERY

_QUERIES = load("report_deliveries")

MOST_DELIVERY_ATTEMPTS = 8
"""How often a delivery is tried before it is given up."""
_LONGEST_ERROR = 500


def delivery_key(run: UUID, place: int) -> str:
    """What a receiver knows a repeat by, the same for every attempt. It has no full stop: a signature has them between its parts."""
    return f"{run}-{place}"


@dataclass(frozen=True)
class ClaimedDelivery:
    """A delivery to make. `recipient` is JSON (storage.report_recipients), `attempts` counts this one, `claim` is new at each."""

    organization: UUID
    id: UUID
    run: UUID
    place: int
    recipient: str
    attempts: int
    claim: UUID

    @property
    def key(self) -> str:
        """What the receiver knows a repeat by."""
        return delivery_key(self.run, self.place)


@dataclass(frozen=True)
class FinishedRun:
    """What is handed over, without the file: a run that `succeeded` or `failed`. `parameters` and `summary` are JSON.

    `schedule`, its name and its secret are None where it is gone, or never was.
    """

    type: str
    format: str
    status: str
    parameters: str
    created_at: dt.datetime
    finished_at: dt.datetime
    error: str | None
    summary: str | None
    generated_at: dt.datetime | None
    file_name: str | None
    content_type: str | None
    size: int | None
    period: dt.datetime | None
    schedule: UUID | None
    schedule_name: str | None
    secret: bytes | None = field(repr=False)


async def hand_on(connection: AsyncConn, run: UUID, now: dt.datetime) -> None:
    """In the transaction that ends a run: a delivery to each of its recipients, and an alert where a scheduled one failed."""
    values = {"id": run, "now": now}
    made = (await connection.execute(_QUERIES["hand_on"], values)).rowcount
    made += (await connection.execute(_QUERIES["run_failed"], values)).rowcount
    if made:
        await _tell(connection, run)


class DeliveryWork:
    """The deliveries that one process claims. Whoever claims one after its lease takes it from the first, whose word counts no more."""

    def __init__(self, database: Database, *, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s

    async def claim(self, now: dt.datetime) -> tuple[ClaimedDelivery | None, list[str]]:
        """The delivery that is due for longest, this process's for `lease_s` seconds; and the kinds of those that ended whoever tried.

        Organizations of which fewer are being handed over come first.
        """
        values = {"claim": uuid4(), "lease_s": self._lease_s, "now": now, "most": MOST_DELIVERY_ATTEMPTS}
        async with self._database.jobs() as connection:
            given_up = []
            for organization, run, place, deaths, kind in await (
                await connection.execute(_QUERIES["exhausted"], values)
            ).fetchall():
                await _died(connection, organization, run, place, deaths, now)
                given_up.append(kind)
            async with connection.cursor(row_factory=class_row(ClaimedDelivery)) as cursor:
                await cursor.execute(_QUERIES["claim"], values)
                return await cursor.fetchone(), given_up

    async def renew(self, delivery: ClaimedDelivery) -> bool:
        """Holds it for another while; False where it is another process's by now, or gone."""
        async with self._database.jobs() as connection:
            values = {"id": delivery.id, "claim": delivery.claim, "lease_s": self._lease_s}
            return await (await connection.execute(_QUERIES["renew"], values)).fetchone() is not None

    async def release(self, delivery: ClaimedDelivery) -> None:
        """Leaves it to whoever claims it next, at once."""
        async with self._database.jobs() as connection:
            await connection.execute(_QUERIES["release"], {"id": delivery.id, "claim": delivery.claim})

    async def content(self, delivery: ClaimedDelivery) -> FinishedRun | None:
        """What is handed over; None where the run was deleted meanwhile."""
        async with (
            self._database.jobs() as connection,
            connection.cursor(row_factory=class_row(FinishedRun)) as cursor,
        ):
            await cursor.execute(_QUERIES["content"], {"run": delivery.run})
            return await cursor.fetchone()

    async def artefact(self, delivery: ClaimedDelivery) -> bytes:
        """The file. Raises LookupError where it is gone."""
        async with self._database.jobs() as connection:
            row = await (await connection.execute(_QUERIES["artefact"], {"run": delivery.run})).fetchone()
        if row is None:
            raise LookupError("the report's file is gone")
        return bytes(row[0])

    async def delivered(self, delivery: ClaimedDelivery, now: dt.datetime) -> bool:
        """The receiver has it; False where it is not this process's any more, as in the next three."""
        return await self._end("delivered", delivery, now=now)

    async def postpone(self, delivery: ClaimedDelivery, error: str, next_at: dt.datetime) -> bool:
        """It is tried again, not before then."""
        return await self._end("postponed", delivery, error=error[:_LONGEST_ERROR], next_at=next_at)

    async def cancel(self, delivery: ClaimedDelivery, reason: str) -> bool:
        """Nobody wants it any more."""
        return await self._end("cancelled", delivery, error=reason[:_LONGEST_ERROR])

    async def give_up(self, delivery: ClaimedDelivery, error: str, now: dt.datetime) -> bool:
        """It is not tried again by itself; the alert about it is written in the same transaction."""
        values = {"id": delivery.id, "claim": delivery.claim, "error": error[:_LONGEST_ERROR], "now": now}
        async with self._database.jobs() as connection:
            dead = await (await connection.execute(_QUERIES["dead"], values)).fetchone()
            if dead is None:
                return False
            organization, run, place, deaths, _ = dead
            await _died(connection, organization, run, place, deaths, now)
            return True

    async def _end(self, how: str, delivery: ClaimedDelivery, **values: object) -> bool:
        async with self._database.jobs() as connection:
            ended = await connection.execute(_QUERIES[how], {**values, "id": delivery.id, "claim": delivery.claim})
            return await ended.fetchone() is not None


async def _died(
    connection: AsyncConn, organization: UUID, run: UUID, place: int, deaths: int, now: dt.datetime
) -> None:
    key = f"delivery-{delivery_key(run, place)}-{deaths}"
    await connection.execute(_QUERIES["delivery_died"], {"organization": organization, "key": key, "now": now})
    await _tell(connection, run)


async def _tell(connection: AsyncConn, run: UUID) -> None:
    await connection.execute(_QUERIES["tell"], {"channel": REPORT_DELIVERY, "id": run})
