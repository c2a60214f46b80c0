"""What the database refuses, and when it fails: the guilty event alone is refused, and an outage loses nothing."""

from __future__ import annotations

from random import Random
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import TupleRow

from aggregators.definitions import ROLLUPS
from ingest.log import Unavailable
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
from tests.one_pass import differences, one_pass
from tests.samples import batches, enterprise, system, trade, view

POISON = "alter table store.event_system add constraint poison check (host not like 'poison%')"


def test_only_the_guilty_events_are_refused(database_url: str) -> None:
    run(database_url, POISON)
    owners = organizations(database_url)
    sink = DatabaseSink(database_url, ROLLUPS)

    @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(guilty=st.sets(st.integers(0, 59), min_size=1, max_size=6))
    def refused(guilty: set[int]) -> None:
        owners = organizations(database_url)
        samples = [
            system(f"e{n}", host="poison" if n in guilty else "web", organization=n // 20 % 2)
            if n % 3 or n in guilty
            else view(f"e{n}", organization=n // 20 % 2)
            for n in range(60)
        ]
        written = batches(samples, owners)
        outcome = sink.write(written)
        assert [len(refusals) for refusals in outcome.refusals] == [
            sum(1 for event in batch.events if getattr(event.data, "host", "") == "poison") for batch in written
        ]
        for batch, refusals in zip(written, outcome.refusals, strict=True):
            for refusal in refusals:
                assert batch.events[refusal.position].data.host == "poison"
                assert "poison" in refusal.error
        assert (outcome.counted, outcome.known) == (60 - len(guilty), 0)
        kept = [sample for n, sample in enumerate(samples) if n not in guilty]
        assert differences(one_pass(kept, owners), rollup_rows(database_url, owners)) == []
        again = sink.write(written)
        assert (again.counted, again.known) == (0, 60 - len(guilty))
        assert again.refusals == outcome.refusals

    refused()
    run(database_url, "alter table store.event_system drop constraint poison")
    # What was refused was not marked as known: it is counted once the database takes it.
    assert sink.write(batches([system("late", host="poison")], owners)).counted == 1
    sink.close()
    assert found_differences(database_url) == []


def test_a_refused_event_of_a_numbered_source_does_not_take_its_neighbours_along(database_url: str) -> None:
    run(database_url, POISON)
    owners = organizations(database_url, 1)
    sink = DatabaseSink(database_url, ROLLUPS)
    samples = [system(f"e{n}", host="poison" if n == 5 else "web", source="import/f", sequence=n) for n in range(12)]
    outcome = sink.write(batches(samples, owners))
    assert [refusal.position for refusal in outcome.refusals[0]] == [5]
    assert outcome.counted == 11
    sink.close()


def test_names_that_are_too_long_for_an_index_do_not_hold_their_neighbours_back(database_url: str) -> None:
    owners = organizations(database_url, 1)
    random = Random(1)
    user, broker, symbol, strategy = (
        "".join(chr(random.randrange(0x20000, 0x2A6D0)) for _ in range(256)) for _ in range(4)
    )
    sink = DatabaseSink(database_url, ROLLUPS)
    long = trade("b", user_id=user, broker=broker, symbol=symbol, strategy=strategy)
    outcome = sink.write(batches([trade("a"), long, trade("c")], owners))
    sink.close()
    assert [refusal.position for refusal in outcome.refusals[0]] == [1]
    assert outcome.counted == 2


@pytest.mark.parametrize("sqlstate", ["53100", "53200", "58030"])
def test_a_full_disk_refuses_everything_and_counts_nothing(database_url: str, sqlstate: str) -> None:
    owners = organizations(database_url, 1)
    run(
        database_url,
        "create function full_disk() returns trigger language plpgsql as $$"
        f" begin raise exception 'could not extend file: No space left on device' using errcode = '{sqlstate}'; end $$",
        "create trigger full_disk before insert on store.feed for each row execute function full_disk()",
    )
    sink = DatabaseSink(database_url, ROLLUPS)
    samples = [system("a"), trade("b"), view("c", "like"), enterprise("d")]
    with pytest.raises(Unavailable, match="No space left"):
        sink.write(batches(samples, owners))
    assert raw_identities(database_url, owners) == []
    assert all(rows == {} for rows in rollup_rows(database_url, owners).values())
    run(database_url, "drop trigger full_disk on store.feed")
    assert sink.write(batches(samples, owners)).counted == 4
    sink.close()
    assert found_differences(database_url) == []


def test_a_connection_killed_in_the_middle_counts_nothing_and_is_made_anew(database_url: str) -> None:
    owners = organizations(database_url, 1)
    killed: list[int] = []

    def kill_once(connection: Connection[tuple[object, ...]]) -> None:
        if not killed:
            killed.append(connection.info.backend_pid)
            assert scalar(database_url, "select pg_terminate_backend(%s, 5000)", (killed[0],))

    sink = DatabaseSink(database_url, ROLLUPS, before_commit=kill_once)
    samples = [system("a"), trade("b"), view("c", "like"), enterprise("d"), system("n", source="x", sequence=1)]
    with pytest.raises(Unavailable) as caught:
        sink.write(batches(samples, owners))
    assert caught.value.retry_after > 0
    assert raw_identities(database_url, owners) == []
    outcome = sink.write(batches(samples, owners))
    assert (outcome.counted, outcome.known) == (5, 0)
    sink.close()
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []


def test_an_idle_connection_that_was_killed_is_made_anew_on_the_next_try(database_url: str) -> None:
    owners = organizations(database_url, 1)
    sink = DatabaseSink(database_url, ROLLUPS)
    sink.write(batches([system("a")], owners))
    run(
        database_url,
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where application_name = 'streamgauge sink' and datname = current_database()",
    )
    with pytest.raises(Unavailable):
        sink.write(batches([system("a"), system("b")], owners))
    outcome = sink.write(batches([system("a"), system("b")], owners))
    assert (outcome.counted, outcome.known) == (1, 1)
    sink.close()


def test_a_database_that_is_not_there_is_unavailable() -> None:
    sink = DatabaseSink("postgresql://nobody@127.0.0.1:1/nothing", ROLLUPS)
    with pytest.raises(Unavailable):
        sink.write(batches([system("a")], [UUID(int=1)]))


def test_a_serialization_failure_is_tried_again(database_url: str) -> None:
    owners = organizations(database_url, 1)
    run(
        database_url,
        "create sequence failures",
        "grant usage on sequence failures to public",
        "create function fail_twice() returns trigger language plpgsql as $$ begin"
        " if nextval('failures') <= 2 then raise exception 'again' using errcode = '40001'; end if; return new; end $$",
        "create trigger fail_twice before insert on store.event_system for each row execute function fail_twice()",
    )
    sink = DatabaseSink(database_url, ROLLUPS)
    assert sink.write(batches([system("a")], owners)).counted == 1
    sink.close()
    assert count(database_url, "system") == 1


def test_numbers_out_of_order_around_a_poisoned_event_all_count(database_url: str) -> None:
    run(database_url, "alter table store.event_system add constraint poison check (host <> 'poison')")
    owners = organizations(database_url, 1)
    samples = [system("n9", source="x", sequence=9), system("n3", source="x", sequence=3), system("p", host="poison")]
    sink = DatabaseSink(database_url, ROLLUPS)
    outcome = sink.write(batches(samples, owners))
    sink.close()
    assert (outcome.counted, [refusal.position for refusal in outcome.refusals[0]]) == (2, [2])


def test_the_smallest_doubles_can_be_read_and_verified(database_url: str) -> None:
    owners = organizations(database_url, 1)
    sink = DatabaseSink(database_url, ROLLUPS)
    sink.write(batches([system("a", 5e-324), system("b", 1e-323), system("c", 0.0)], owners))
    sink.close()
    assert found_differences(database_url) == []
    assert scalar(database_url, 'select max(sum / nullif(count, 0)) from store."rollup_system_metrics_1m"') == 0


def test_a_group_that_touches_more_than_a_transaction_can_lock_is_halved_until_it_fits(database_url: str) -> None:
    owners = organizations(database_url)
    samples = [system(f"e{n}", organization=n // 7 % 2) for n in range(40)]

    def full(connection: Connection[TupleRow]) -> None:
        # What a hypertable's chunks of very many days come to: the server says so by this very error.
        connection.execute(
            "do $$ begin if (select count(*) from store.event_system where xmin = pg_current_xact_id()::xid) > 8 then"
            " raise exception 'out of shared memory' using errcode = '53200'; end if; end $$"
        )

    sink = DatabaseSink(database_url, ROLLUPS, before_commit=full)
    outcome = sink.write(batches(samples, owners))
    assert (outcome.counted, outcome.known) == (40, 0)
    assert all(refusals == [] for refusals in outcome.refusals)
    sink.close()
    assert differences(one_pass(samples, owners), rollup_rows(database_url, owners)) == []


def test_one_event_that_the_server_has_no_memory_for_is_sent_again_not_refused(database_url: str) -> None:
    owners = organizations(database_url, 1)

    def full(connection: Connection[TupleRow]) -> None:
        connection.execute("do $$ begin raise exception 'out of shared memory' using errcode = '53200'; end $$")

    sink = DatabaseSink(database_url, ROLLUPS, before_commit=full)
    with pytest.raises(Unavailable, match="max_locks_per_transaction"):
        sink.write(batches([system("a"), system("b")], owners))
    sink.close()
    assert count(database_url, "system") == 0
