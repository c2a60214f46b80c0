"""Records: what is written to Kafka decodes to the same event, and comes back as the batch that it was."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ingest.events import KINDS, Event
from ingest.events.decode import Limits, decode
from ingest.identity import identities, keys
from ingest.kafka.columns import by_organization
from ingest.kafka.intake import Intake
from ingest.kafka.records import ORGANIZATION, Record, event_json, pack_records
from ingest.kafka.slices import Slice
from ingest.log import Batch
from ingest.partitions import home_partitions
from tests.samples import NOW, accepted, sample_lists, system, trade, view

OWNER = UUID(int=7)
OTHER = UUID(int=8)
FAR = Limits(ahead=dt.timedelta(days=3650))
KNOWN = {str(OWNER).encode(): OWNER, str(OTHER).encode(): OTHER}


@dataclass
class Read:
    """A record as a consumer gives it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    partition: int = 0
    offset: int = 0


def intake() -> Intake:
    """An intake that takes whatever keeps its contract."""
    return Intake(FAR, lambda *_: None)


def read(record: Record, partition: int = 0, offset: int = 0) -> Read:
    """What was written, read again."""
    return Read(record.key, record.value, tuple(record.headers), partition, offset)


def part(kind: str, partition: int, records: list[Any]) -> Slice:
    """Records of one partition."""
    return Slice(kind, partition, records, len(records), None)


@given(samples=sample_lists(max_size=20, numbered=True))
def test_what_is_written_decodes_to_the_same_event(samples: list[Any]) -> None:
    for event in accepted(samples):
        (again,) = decode(event_json(event), "application/json", now=NOW, limits=FAR).events
        assert again == event


@given(samples=sample_lists(max_size=40, numbered=True), count=st.integers(1, 9))
def test_a_batch_comes_back_from_its_partitions(samples: list[Any], count: int) -> None:
    events = accepted(samples)
    packed = pack_records(Batch(OWNER, events))
    assert packed.size == len(events)
    slices = [
        part(kind, partition, [read(record, partition) for record in records])
        for kind in packed.kinds
        for partition, records in packed.by_partition(kind, count).items()
    ]
    taken = intake().take(by_organization(slices), dict.fromkeys(KINDS, count), KNOWN, NOW)
    assert (taken.strays, taken.dead) == ([], [])
    assert all(batch.organization == OWNER for batch in taken.batches)
    found = {(event.kind, event.id): event for batch in taken.batches for event in batch.events}
    assert found == {(event.kind, event.id): event for event in events}
    for batch, (kind, origins) in zip(taken.batches, taken.origins, strict=True):
        for event, record in zip(batch.events, origins, strict=True):
            assert event.kind == kind
            assert decode(record.value, "application/json", now=NOW, limits=FAR).events == [event]


def test_a_source_that_numbers_its_events_has_one_partition() -> None:
    numbered = accepted([system(f"n{n}", source="import/x", sequence=n) for n in range(50)])
    assert len(set(keys(OWNER, "system", numbered))) == 1
    assert len(set(keys(OWNER, "system", accepted([system(f"n{n}") for n in range(50)])))) == 50
    named = accepted([system("a"), system("b", source="a\\")])
    assert keys(OWNER, "system", named) == identities(OWNER, "system", named)


def test_keys_of_different_events_differ() -> None:
    events = accepted([system("bc", source="a"), system("c", source="ab"), system("n", source="a", sequence=1)])
    found = keys(OWNER, "system", events) + keys(OTHER, "system", events) + keys(OWNER, "view", accepted([view("bc")]))
    assert len(set(found)) == 7


def poisoned(value: bytes | None, **changes: Any) -> str:
    """Why a record is dead, between two good ones which are taken."""
    good = [pack_records(Batch(OWNER, accepted([system(name)]))) for name in ("before", "after")]
    before, after = (read(one.by_partition("system", 1)[0][0], offset=n) for n, one in enumerate(good))
    bad = Read(b"k", value, ((("organization"), str(OWNER).encode()),), 0, 1)
    for name, change in changes.items():
        setattr(bad, name, change)
    taken = intake().take(by_organization([part("system", 0, [before, bad, after])]), {"system": 1}, KNOWN, NOW)
    assert [event.id for batch in taken.batches for event in batch.events] == ["before", "after"]
    (dead,) = taken.dead
    assert (dead.letter.kind, dead.letter.partition, dead.letter.offset) == ("system", 0, 1)
    assert dead.record is bad
    return dead.letter.reason


def test_every_sort_of_poison_is_dead_by_itself() -> None:
    good = event_json(accepted([system("x")])[0])
    assert poisoned(None) == "event: the record has no value"
    assert poisoned(b"").startswith("event: expected one CloudEvent")
    assert poisoned(b"\x00\xff garbage").startswith("event: expected one CloudEvent")
    assert poisoned(b"[" + good + b"]").startswith("event: expected one CloudEvent")
    assert poisoned(good + b"," + good).startswith("body: ")
    assert poisoned(good[:-1]).startswith("body: ")
    assert poisoned(b"{" * 5_000).startswith("body: ")
    assert "UTF-8" in poisoned(good.replace(b"web-1", b"web-\xff"))
    assert "finite number" in poisoned(good.replace(b"1.0", b"NaN"))
    assert "specversion" in poisoned(good.replace(b'"specversion":"1.0"', b'"specversion":"0.3"'))
    assert "data.host" in poisoned(good.replace(b"web-1", b""))
    assert "NUL" in poisoned(good.replace(b"web-1", b"web\\u0000"))
    assert "NUL" in poisoned(good.replace(b"web-1", b"web\\ud800"))
    assert poisoned(event_json(accepted([view("v")])[0])) == "type: expected system, as the topic's name says"
    assert "earliest" in poisoned(good.replace(b"2026-", b"1926-"))
    assert "future" in poisoned(good.replace(b"2026-", b"2126-"))


def test_whose_a_record_is_must_be_said_once_and_be_known() -> None:
    good = event_json(accepted([system("x")])[0])
    mine = ("organization", str(OWNER).encode())
    assert poisoned(good, headers=()) == "organization: the header is missing"
    assert poisoned(good, headers=(mine, mine)) == "organization: the header stands more than once"
    assert poisoned(good, headers=(("organization", b"acme"),)) == "organization: the header is no id"
    assert poisoned(good, headers=(("organization", b"\xff\xfe"),)) == "organization: the header is no id"
    stranger = ("organization", str(UUID(int=99)).encode())
    assert poisoned(good, headers=(stranger,)) == "organization: is not known"


def test_records_that_are_cut_so_that_their_number_is_right_do_not_shift_their_neighbours() -> None:
    one, two = (event_json(accepted([system(name)])[0]) for name in ("one", "two"))
    # Joined, these three are two events and would be taken for three; each by itself is none, or one.
    halves = [one + b"," + two, b'{"a":"', b'"}']
    records = [Read(b"k", value, (("organization", str(OWNER).encode()),), 0, n) for n, value in enumerate(halves)]
    taken = intake().take(by_organization([part("system", 0, records)]), {"system": 1}, KNOWN, NOW)
    assert taken.batches == []
    assert sorted(dead.letter.offset for dead in taken.dead) == [0, 1, 2]


def test_a_record_with_another_key_is_sent_where_it_belongs() -> None:
    events: list[Event] = accepted([trade(f"t{n}") for n in range(40)])
    wrong = [Read(b"user-7", event_json(event), (("organization", str(OWNER).encode()),), 2) for event in events]
    taken = intake().take(by_organization([part("trade", 2, wrong)]), {"trade": 4}, KNOWN, NOW)
    hashes = keys(OWNER, "trade", events)
    homes = home_partitions(b"".join(hashes), 4).tolist()
    assert {(stray.key, stray.home) for stray in taken.strays} == {
        (key, home) for key, home in zip(hashes, homes, strict=True) if home != 2
    }
    assert sum(len(batch.events) for batch in taken.batches) == homes.count(2)
    assert len(taken.strays) + homes.count(2) == 40


def test_metric_names_are_held_against_their_bound_where_another_producer_wrote() -> None:
    refusing = Intake(FAR, lambda *_: "data.metrics.x: too many")
    event = accepted([system("x")])[0]
    ours = read(pack_records(Batch(OWNER, [event])).by_partition("system", 1)[0][0])
    foreign = Read(b"k", event_json(event), ours.headers)
    taken = refusing.take(by_organization([part("system", 0, [ours, foreign])]), {"system": 1}, KNOWN, NOW)
    assert [len(batch.events) for batch in taken.batches] == [1]
    assert [dead.letter.reason for dead in taken.dead] == ["data.metrics.x: too many"]


@given(
    samples=sample_lists(max_size=3, numbered=True),
    place=st.integers(0, 10_000),
    junk=st.binary(max_size=6)
    | st.sampled_from([b"\\ud800", b"\\u0000", b"NaN", b'"', b"}", b"9" * 5_000, b"[" * 2_000]),
)
def test_whatever_a_record_holds_it_is_an_event_or_a_dead_letter(samples: list[Any], place: int, junk: bytes) -> None:
    for event in accepted(samples):
        value = event_json(event)
        at = place % (len(value) + 1)
        for broken in (value[:at] + junk + value[at:], value[:at] + junk, junk):
            headers = (("organization", str(OWNER).encode()), ("other", junk))
            taken = intake().take(
                by_organization([part(event.kind, 0, [Read(junk, broken, headers)])]), {event.kind: 1}, KNOWN, NOW
            )
            assert len(taken.batches) + len(taken.dead) == 1
            for dead in taken.dead:
                assert dead.letter.reason.encode()
                assert "\0" not in dead.letter.reason
                assert "could not be read" not in dead.letter.reason


def test_keys_that_only_match_when_joined_are_not_believed() -> None:
    events = accepted([system("a"), system("b")])
    first, second = keys(OWNER, "system", events)
    header = ((ORGANIZATION, str(OWNER).encode()),)
    records = [
        Read(key, event_json(event), header)
        for key, event in zip((first + second[:1], second[1:]), events, strict=True)
    ]
    taken = intake().take(by_organization([part("system", 0, records)]), dict.fromkeys(KINDS, 1), KNOWN, NOW)
    assert [key for batch in taken.batches for key in batch.keys or ()] == [first, second]
