"""The state that must be reached, whatever went wrong on the way: that of a run without a fault, computed in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier

from tests.chaos import topics
from tests.chaos.cluster import Cluster
from tests.chaos.sender import Sender
from tests.integration.stored import KINDS, found_differences, reaction_rows, rollup_rows, whole_microseconds
from tests.one_pass import differences, microseconds, one_pass, reactions
from tests.samples import Sample
from tests.service_process import wait_until

Raw = tuple[UUID, str, str, str, int]
"""Organization, kind, source, id, and time in microseconds since 1970."""


def first_of_each(samples: Iterable[Sample]) -> list[Sample]:
    """The samples, of those with one identity the first: what is accepted later is known by then."""
    first: dict[tuple[int, str, str, str], Sample] = {}
    for sample in samples:
        event = sample.event
        first.setdefault((sample.organization, event["type"], event["source"], event["id"]), sample)
    return list(first.values())


def wrong(url: str, accepted: Iterable[Sample], organizations: Sequence[UUID]) -> list[str]:
    """Every way in which the database is not as if each accepted event had been counted once, in words; empty where it is.

    `accepted` are in the order in which they were accepted. Compares raw events, every figure of every rollup, the current
    reactions, and what `streamgauge verify` says.
    """
    samples = first_of_each(accepted)
    found = _raw_differences(_expected_raw(samples, organizations), raw_rows(url, organizations))
    found += differences(one_pass(samples, organizations), rollup_rows(url, organizations))
    if reactions(samples, organizations) != reaction_rows(url, organizations):
        found.append("the current reactions are others")
    found += [f"verify: {difference}" for difference in found_differences(url)]
    return found


def assert_right(cluster: Cluster, senders: Sequence[Sender], *, at_least: int = 100, seconds: float = 60.0) -> None:
    """Waits until everything is counted; fails where the end state is not that of a run without a fault."""
    accepted = [sample for sender in senders for sample in sender.accepted]
    number = len(first_of_each(accepted))
    assert number >= at_least, f"only {number} events were accepted: that means little"
    wait_until_counted(cluster, senders, seconds)
    if cluster.broker is not None:
        # What was sent again stands behind them; it must not have counted either.
        try:
            wait_until(lambda: drained(cluster), "the log to be drained", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; {_behind(cluster)}") from None
    print(f"{number} events, {len(accepted)} with repetitions; {[sender.answers for sender in senders]}")
    assert wrong(cluster.database_url, accepted, cluster.organizations) == []


def wait_until_counted(cluster: Cluster, senders: Sequence[Sender], seconds: float = 60.0) -> None:
    """Returns once as many events are counted as were accepted; fails with who waits for what. Restarts what ends by itself."""
    number = len(first_of_each(sample for sender in senders for sample in sender.accepted))

    def counted() -> bool:
        cluster.keep()
        return number_of(cluster) >= number

    try:
        wait_until(counted, f"{number} events to be counted", seconds)
    except AssertionError as error:
        raise AssertionError(
            f"{error}; {number_of(cluster)} are; {_behind(cluster)}\n{_missing(cluster, senders)}"
        ) from None


def number_of(cluster: Cluster) -> int:
    """How many raw events there are."""
    with psycopg.connect(cluster.database_url) as connection:
        parts = [SQL("(select count(*) from {})").format(Identifier("store", f"event_{kind}")) for kind in KINDS]
        row = connection.execute(SQL("select ") + SQL(" + ").join(parts)).fetchone()
        assert row is not None
        return int(row[0])


def _missing(cluster: Cluster, senders: Sequence[Sender]) -> str:
    """Which events are not counted, and which records were put away."""
    samples = first_of_each(sample for sender in senders for sample in sender.accepted)
    stored = set(raw_rows(cluster.database_url, cluster.organizations))
    missing = [row[1:4] for row in _expected_raw(samples, cluster.organizations) if row not in stored]
    with psycopg.connect(cluster.database_url) as connection:
        dead = connection.execute("select kind, reason from store.dead_letter limit 20").fetchall()
    return f"missing are {missing[:200]}, dead letters {dead}"


def _behind(cluster: Cluster) -> str:
    """Which partitions are not at their end, whose they are, and what the database's connections are at."""
    with psycopg.connect(cluster.database_url) as connection:
        activity = connection.execute(
            "select application_name, state, wait_event, now() - state_change as since, left(query, 80)"
            " from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchall()
        rows = connection.execute(
            "select kind, partition, next_offset, owner, epoch from store.log_partition"
        ).fetchall()
    last = topics.ends(cluster) if cluster.broker is not None else {}
    behind = [row for row in rows if row[2] < last.get((row[0], row[1]), 0)]
    return "\n".join(["behind are", *map(str, behind), "connections", *map(str, activity)])


def drained(cluster: Cluster) -> bool:
    """Whether the database is at the end of every partition of the log."""
    with psycopg.connect(cluster.database_url) as connection:
        rows = connection.execute("select kind, partition, next_offset from store.log_partition").fetchall()
    at = {(kind, partition): offset for kind, partition, offset in rows}
    return all(at.get(place, 0) >= end for place, end in topics.ends(cluster).items())


def raw_rows(url: str, of: Sequence[UUID]) -> list[Raw]:
    """Every raw event of these organizations, sorted; one that was counted twice stands there twice."""
    found: list[Raw] = []
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        for kind in KINDS:
            statement = SQL("select organization, source, id, time from {} where organization = any(%s)")
            for owner, source, name, time in connection.execute(
                statement.format(Identifier("store", f"event_{kind}")), (list(of),)
            ):
                found.append((owner, kind, source, name, whole_microseconds(time)))
    return sorted(found)


def _expected_raw(samples: Sequence[Sample], organizations: Sequence[UUID]) -> list[Raw]:
    return sorted(
        (
            organizations[sample.organization],
            sample.event["type"],
            sample.event["source"],
            sample.event["id"],
            microseconds(sample.event["data"].get("closed_at", sample.event["time"])),
        )
        for sample in samples
    )


def _raw_differences(expected: list[Raw], stored: list[Raw]) -> list[str]:
    """What is missing, what is there too often, and how many there are."""
    if expected == stored:
        return []
    missing, surplus = list(expected), []
    remaining = set(expected)
    for row in stored:
        if row in remaining:
            remaining.discard(row)
        else:
            surplus.append(row)
    missing = sorted(remaining)
    found = [f"raw: {len(stored)} events, expected {len(expected)}: {len(missing)} missing, {len(surplus)} surplus"]
    found += [f"raw: missing {row}" for row in missing[:5]]
    return found + [f"raw: surplus {row}" for row in surplus[:5]]
