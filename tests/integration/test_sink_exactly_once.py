"""The sink on a real PostgreSQL: whatever the split, the order and the repetitions, every event counts exactly once."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregators.definitions import ROLLUPS
from storage.ledger import LedgerLimits
from storage.sink import DatabaseSink
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
from tests.one_pass import differences, one_pass, reactions
from tests.samples import START, batches, deliveries, sample_lists, system, trade, view

SMALL = LedgerLimits(slice_ids=50)
"""Seals a slice after every hundred identities, so that a test meets slices at all."""


def test_rollups_equal_a_one_pass_computation_for_any_delivery(database_url: str) -> None:
    sink = DatabaseSink(database_url, ROLLUPS, limits=SMALL)

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def delivered(data: st.DataObject) -> None:
        nonlocal sink
        samples = data.draw(sample_lists(max_size=60, numbered=True))
        owners = organizations(database_url)
        counted = known = 0
        for group in data.draw(deliveries(samples)):
            if data.draw(st.booleans()):
                sink.close()
                sink = DatabaseSink(database_url, ROLLUPS, limits=SMALL)
            written = batches(group, owners)
            outcome = sink.write(written)
            assert outcome.refusals == [[] for _ in written]
            counted, known = counted + outcome.counted, known + outcome.known
            assert outcome.counted + outcome.known == len(group)
        assert counted == len(samples)
        expected = sorted((owners[s.organization], s.event["type"], s.event["source"], s.event["id"]) for s in samples)
        assert raw_identities(database_url, owners) == expected
        assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []
        assert reaction_rows(database_url, owners) == reactions(samples, owners)

    try:
        delivered()
    finally:
        sink.close()
    assert found_differences(database_url) == []


def test_identities_are_known_after_sealing_and_after_a_restart(database_url: str) -> None:
    owners = organizations(database_url, 1)
    everything = [system(f"e{number}") for number in range(1_000)]
    sink = DatabaseSink(database_url, ROLLUPS, limits=SMALL)
    for start in range(0, 1_000, 40):
        assert sink.write(batches(everything[start : start + 40], owners)).counted == len(
            everything[start : start + 40]
        )
    assert scalar(database_url, "select count(*) from store.ledger_slice") > 10
    fresh = DatabaseSink(database_url, ROLLUPS, limits=SMALL)
    for again in (sink, fresh):
        mixed = [system("e0"), system("new-" + str(id(again))), *everything[1:], system("e999")]
        outcome = again.write(batches(mixed, owners))
        assert (outcome.counted, outcome.known) == (1, 1_001)
        again.close()
    assert count(database_url, "system") == 1_002
    assert found_differences(database_url) == []


def test_a_filter_that_says_yes_to_everything_costs_nobody_an_event(database_url: str) -> None:
    owners = organizations(database_url, 1)
    with_slices = DatabaseSink(database_url, ROLLUPS, limits=SMALL)
    for start in range(0, 300, 50):
        with_slices.write(batches([system(f"e{number}") for number in range(start, start + 50)], owners))
    with_slices.close()
    run(
        database_url,
        "update store.ledger_slice set filter = decode(repeat('ff', length(filter)), 'hex')",
    )
    assert scalar(database_url, "select count(*) from store.ledger_slice") > 1
    sink = DatabaseSink(database_url, ROLLUPS, limits=SMALL)
    outcome = sink.write(batches([system(f"e{number}") for number in range(250, 350)], owners))
    sink.close()
    assert (outcome.counted, outcome.known) == (50, 50)


def test_the_window_forgets_the_oldest_identities_only(database_url: str) -> None:
    owners = organizations(database_url, 1)
    sink = DatabaseSink(database_url, ROLLUPS, limits=LedgerLimits(slice_ids=50, slices=3))
    for start in range(0, 1_000, 50):
        sink.write(batches([system(f"e{number}") for number in range(start, start + 50)], owners))
    assert scalar(database_url, "select count(*) from store.ledger_slice") <= 3
    assert sink.write(batches([system(f"e{number}") for number in range(850, 1_000)], owners)).counted == 0
    sink.close()


def test_the_same_identity_is_the_same_event_whatever_its_time_and_payload(database_url: str) -> None:
    owners = organizations(database_url)
    sink = DatabaseSink(database_url, ROLLUPS)
    first = system("same", 1.0)
    later = system("same", 99.0, host="web-2", time=START.replace(day=30).isoformat())
    outcome = sink.write(batches([first, later], owners))
    assert (outcome.counted, outcome.known) == (1, 1)
    assert sink.write(batches([later], owners)).known == 1
    others = [
        system("same", 2.0, organization=1),
        system("same", 2.0, source="another"),
        view("same"),
        trade("same"),
    ]
    assert sink.write(batches(others, owners)).counted == 4
    sink.close()
    assert differences(one_pass([first, *others], owners), rollup_rows(database_url, owners)) == []


def test_a_source_that_numbers_its_events_may_skip_numbers_and_go_back(database_url: str) -> None:
    owners = organizations(database_url, 1)
    sink = DatabaseSink(database_url, ROLLUPS)

    def send(*numbers: int) -> int:
        return sink.write(batches([system(f"n{n}", source="import/x", sequence=n) for n in numbers], owners)).counted

    assert send(0, 1, 5) == 3
    assert send(0, 1, 5) == 0
    assert send(3, 5, 6, 6, 2**63 - 1) == 2
    assert send(7) == 0
    sink.close()
    assert count(database_url, "system") == 5


def test_prefixes_of_names_do_not_make_two_identities_one(database_url: str) -> None:
    owners = organizations(database_url, 1)
    sink = DatabaseSink(database_url, ROLLUPS)
    samples = [
        system("bc", source="a"),
        system("c", source="ab"),
        system("abc", source="\\"),
        system("abc", source="\\\\"),
    ]
    assert sink.write(batches(samples, owners)).counted == 4
    sink.close()
