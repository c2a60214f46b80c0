"""`streamgauge partitions` and `streamgauge dead-letters`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from front import kafka
from front.database import database_url
from front.settings import Settings
from ingest.kafka.producer import Producer
from ingest.kafka.records import Record
from ingest.log import Unavailable
from jobs.raising import CannotRaise, raise_number
from jobs.replay import replay, with_records
from storage.database import Database, StorageUnavailable
from storage.dead_letters import DeadLetterRow, DeadLetters
from storage.log_partitions import LogPartitions


def partitions_command(settings: Settings, kind: str, count: int, console: Console) -> int:
    """Raises the number and shows how far it is; returns 0, 1 where something is away, 2 for a number that cannot be had."""
    where = kafka.cluster(settings)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(f"{kind}: …", total=None)

        def step(what: str, left: int | None) -> None:
            bar.update(task, description=f"{kind}: {what}" + (f", {left} events left" if left is not None else ""))

        async def work(database: Database) -> None:
            await raise_number(kind, count, partitions=LogPartitions(database), cluster=where, on_step=step)

        try:
            _with_database(settings, work)
        except CannotRaise as error:
            console.print(f"[bold red]error[/] {escape(str(error))}")
            return 2
        except (Unavailable, StorageUnavailable) as error:
            console.print(
                f"[bold red]error[/] {escape(str(error))}\nRun the same command again: it goes on where it was."
            )
            return 1
        except KeyboardInterrupt:
            console.print(
                f"interrupted. Events of {kind} are refused until the same command was run again and has ended."
            )
            return 130
    console.print(f"{kind} has {count} partitions")
    return 0


def list_command(
    settings: Settings, limit: int, reason: str | None, replayed: bool, as_json: bool, console: Console
) -> int:
    """Prints dead letters, the newest first; returns 0, or 1 where something is away."""

    async def work(database: Database) -> None:
        dead_letters = DeadLetters(database)
        rows = await dead_letters.listed(limit=limit, reason=reason, replayed=replayed)
        if as_json:
            places = {(row.kind, row.partition, row.log_offset): row for row in rows}
            records = {
                (letter.kind, letter.partition, letter.offset): letter.record
                async for letter in with_records(kafka.cluster(settings), places)
            }
            for place, row in places.items():
                print(json.dumps(_shown(row, records.get(place))))
        else:
            _print(rows, console)
            numbers = await dead_letters.numbers()
            console.print(f"{numbers.waiting} wait to be sent again, {numbers.replayed} were")

    return _answered(settings, work, console)


def replay_command(settings: Settings, reason: str | None, console: Console) -> int:
    """Sends dead letters again; returns 0, or 1 where something is away."""

    async def work(database: Database) -> None:
        producer = Producer(kafka.cluster(settings), compression=kafka.record_compression(settings))
        try:
            done = await replay(
                kafka.cluster(settings), LogPartitions(database), DeadLetters(database), producer, reason=reason
            )
        finally:
            await producer.close()
        print(f"{done.sent} sent again" + (f"; of {done.gone} Kafka no longer has the record" if done.gone else ""))

    return _answered(settings, work, console)


def _answered(settings: Settings, work: Callable[[Database], Awaitable[None]], console: Console) -> int:
    try:
        _with_database(settings, work)
    except (Unavailable, StorageUnavailable) as error:
        console.print(f"[bold red]error[/] {escape(str(error))}")
        return 1
    return 0


def _with_database(settings: Settings, work: Callable[[Database], Awaitable[None]]) -> None:
    async def opened(url: str) -> None:
        database = Database(url, size=2)
        await database.open()
        try:
            await work(database)
        finally:
            await database.close()

    with database_url(settings) as url:
        asyncio.run(opened(url))


def _print(rows: list[DeadLetterRow], console: Console) -> None:
    table = Table("when", "topic", "partition", "offset", "organization", "reason", box=None)
    for row in rows:
        sent = f" (sent again {row.replayed_at:%Y-%m-%d %H:%M})" if row.replayed_at else ""
        table.add_row(
            f"{row.dead_at:%Y-%m-%d %H:%M:%S}",
            row.kind,
            str(row.partition),
            str(row.log_offset),
            escape(row.organization or "–"),
            escape(row.reason) + sent,
        )
    console.print(table)


def _shown(row: DeadLetterRow, record: Record | None) -> dict[str, object]:
    value = None if record is None or record.value is None else record.value.decode("utf-8", "replace")
    return {
        "kind": row.kind,
        "partition": row.partition,
        "offset": row.log_offset,
        "organization": row.organization,
        "reason": row.reason,
        "dead_at": row.dead_at.isoformat(),
        "replayed_at": row.replayed_at.isoformat() if row.replayed_at else None,
        "value": value,
    }
