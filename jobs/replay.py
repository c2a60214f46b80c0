"""Dead letters, read together with what the database knows of them, and sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import msgspec

from ingest.events import AnyEvent
from ingest.identity import keys
from ingest.kafka.cluster import Cluster
from ingest.kafka.dead_letters import Letter, letters
from ingest.kafka.intake import parse_organization
from ingest.kafka.producer import Producer
from ingest.kafka.records import ORGANIZATION, Record, event_json
from ingest.log import Unavailable
from ingest.partitions import home_partitions
from storage.dead_letters import DeadLetterRow, DeadLetters
from storage.log_partitions import LogPartitions

_AT_ONCE = 500
_EVENT = msgspec.json.Decoder(AnyEvent)


@dataclass(frozen=True)
class Replayed:
    """How many were sent again, and how many are known whose record Kafka's retention has taken."""

    sent: int
    gone: int


async def with_records(cluster: Cluster, rows: Mapping[tuple[str, int, int], DeadLetterRow]) -> AsyncIterator[Letter]:
    """The records of dead letters, each once however often a worker wrote it; of records at the same place the last."""
    found: dict[tuple[str, int, int], Letter] = {}
    async for letter in letters(cluster):
        place = letter.kind, letter.partition, letter.offset
        if place in rows:
            found[place] = letter
    for letter in found.values():
        yield letter


async def replay(
    cluster: Cluster, partitions: LogPartitions, dead_letters: DeadLetters, producer: Producer, *, reason: str | None
) -> Replayed:
    """Sends every dead letter that was not sent again yet (with a `reason` those that contain it) to its topic.

    Ended in the middle, it goes on at the next call; what was sent twice then is known by its id. An event that its source numbers
    goes without its number: later ones were counted meanwhile, so it is known by its id from now on. Raises Unavailable.
    """
    listed = await dead_letters.listed(limit=None, reason=reason)
    rows = {(row.kind, row.partition, row.log_offset): row for row in listed}
    topics = {topic.kind: topic for topic in await partitions.topics()}
    sent: list[tuple[str, int, int]] = []
    done = 0
    async for letter in with_records(cluster, rows):
        topic = topics.get(letter.kind)
        if topic is None or topic.draining:
            raise Unavailable(f"the topic of {letter.kind} events is being given more partitions")
        record = _again(letter)
        home = int(home_partitions(record.key, topic.partitions)[0]) if len(record.key or b"") == 16 else 0  # type: ignore[arg-type]
        await producer.send(cluster.topic(letter.kind), home, [record])
        sent.append((letter.kind, letter.partition, letter.offset))
        if len(sent) >= _AT_ONCE:
            await dead_letters.mark_replayed(sent)
            done, sent = done + len(sent), []
    await dead_letters.mark_replayed(sent)
    done += len(sent)
    return Replayed(done, len(rows) - done)


def _again(letter: Letter) -> Record:
    """The record to send: as it was, but for the key of an event that can be read, and the number of one that has one."""
    record = letter.record
    owners = [value for name, value in record.headers if name == ORGANIZATION]
    organization = parse_organization(owners[0]) if len(owners) == 1 else None
    if organization is None or record.value is None:
        return record
    try:
        event = _EVENT.decode(record.value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return record
    value = record.value
    if event.sequence is not None:
        event.sequence = None
        value = event_json(event)
    return Record(keys(organization, event.kind, [event])[0], value, record.headers)
