"""Records of every sort in the topics: what is good counts once, whoever wrote it and wherever; what is not is a dead letter."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from uuid import uuid4

import msgspec

from tests.chaos import topics
from tests.chaos.cluster import Cluster
from tests.chaos.conftest import SEED
from tests.chaos.expected import assert_right
from tests.chaos.topics import Foreign
from tests.chaos.workload import GARBLINGS, YEAR, Workload
from tests.integration.stored import scalar
from tests.samples import Sample
from tests.service_process import wait_until

_JSON = msgspec.json.Encoder(decimal_format="number")


def test_poison_is_put_away_and_its_neighbours_are_counted(scaled: Cluster) -> None:
    owner = str(scaled.organizations[0]).encode()
    flow = Workload(0, SEED)
    sender = scaled.sender(0)
    samples = _unnumbered(flow, 40)
    good = [_foreign(sample, owner, partition=number % 4) for number, sample in enumerate(samples)]
    poison = [Foreign("system", value, owner, number % 4) for number, value in enumerate(_poison(flow))]
    sample = _unnumbered(flow, 1)[0]
    value = _JSON.encode(sample.event)
    kind = sample.event["type"]
    nobodies = (None, b"", b"\xff\xfe", b"not-an-id", str(uuid4()).encode())
    poison += [Foreign(kind, value, nobody) for nobody in nobodies]
    poison.append(Foreign("trade" if kind != "trade" else "view", value, owner))
    mixed = [record for pair in zip(good, poison, strict=False) for record in pair] + good[len(poison) :]
    topics.produce(scaled, mixed)
    sender.send(flow.new(60))
    sender.accepted += samples
    assert_right(scaled, [sender])
    wait_until(
        lambda: scalar(scaled.database_url, "select count(*) from store.dead_letter") == len(poison),
        f"{len(poison)} dead letters",
    )
    assert scalar(scaled.database_url, "select count(*) from store.dead_letter where reason = ''") == 0
    listed = [json.loads(line) for line in scaled.command("dead-letters", "list", "--json").splitlines()]
    assert len(listed) == len(poison)
    assert all(one["reason"] for one in listed)


def test_whoever_writes_a_record_and_wherever_it_counts_once(scaled: Cluster) -> None:
    owner = str(scaled.organizations[0]).encode()
    sender = scaled.sender(0)
    samples = _unnumbered(Workload(0, SEED), 60)
    sender.send(samples)
    # The same events into each partition, with keys that are not ours: each belongs to one partition only.
    topics.produce(scaled, [_foreign(sample, owner, partition) for sample in samples for partition in range(4)])
    assert_right(scaled, [sender], at_least=50)


def test_the_same_id_again_with_another_payload_time_or_organization(scaled: Cluster) -> None:
    first, second = scaled.sender(0), scaled.sender(1)
    samples = _unnumbered(Workload(0, SEED), 60)
    first.send(samples)
    for other in (
        [sample.again(data=_another(sample.event)) for sample in samples],
        [sample.again(time=_shifted(sample.event["time"], -YEAR)) for sample in samples],
        samples,
    ):
        first.send(other)
    second.send([Sample(1, sample.event) for sample in samples])
    assert_right(scaled, [first, second])


def _unnumbered(flow: Workload, count: int) -> list[Sample]:
    found: list[Sample] = []
    while len(found) < count:
        found += [sample for sample in flow.new(count) if "sequence" not in sample.event]
    return found[:count]


def _foreign(sample: Sample, owner: bytes, partition: int) -> Foreign:
    return Foreign(sample.event["type"], _JSON.encode(sample.event), owner, partition)


def _poison(flow: Workload) -> list[bytes | None]:
    event = flow.late(1)[0].event | {"type": "system", "data": {"host": "h", "metrics": {"a": 1}}}
    text = _JSON.encode(event)
    return [
        None,
        b"",
        b"null",
        b"{",
        b"[]",
        b"[" + text + b"]",
        b"\x00\xff\xfe",
        b"[" * 100_000,
        text[:-1],
        text.replace(b'"a":1', b'"a":NaN'),
        text.replace(b'"a":1', b'"a":1e999'),
        text.replace(b'"host":"h"', b'"host":"\\ud800"'),
        *(_JSON.encode(garbled(event)) for garbled in GARBLINGS),
    ]


def _another(event: dict[str, Any]) -> dict[str, Any]:
    return Workload(0, SEED + 1).of_kind(event["type"])


def _shifted(time: str, by: dt.timedelta) -> str:
    return (dt.datetime.fromisoformat(time) + by).isoformat()
