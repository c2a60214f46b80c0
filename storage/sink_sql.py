"""The statements of the sink's transaction, one function a step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from uuid import UUID

import polars as pl
from psycopg.sql import SQL, Composed, Identifier

from aggregators.frames import spans
from ingest.events import Event
from storage.arrays import plain_digits
from storage.database import Conn
from storage.ledger import LedgerName

CHANNEL = "streamgauge_commit"
"""Where a commit is announced; the payload is the feed's new position. A hint: truth is read from the feed."""

LOCKS = {"kind": 731_001, "rollup": 731_002, "feed": 731_003, "merge": 731_004}
"""First keys of the advisory locks; the second key is the hash of a kind's or rollup's name."""


_PIECE = 2_000
"""Raw rows that are written out at once."""


def lock_ledger(connection: Conn, name: LedgerName) -> None:
    """Until the transaction ends, this is the only writer of the ledger.

    The direct log's ledger excludes every other writer of its kind, for it may hold any identity. That of a partition excludes
    the direct log, and whoever else writes the partition by the row that its offset stands in.
    """
    if not name.partitions:
        connection.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (LOCKS["kind"], name.kind))
        return
    share_kind(connection, name.kind)
    connection.execute(
        "select from store.log_partition where kind = %s and partition = %s for update", (name.kind, name.partition)
    )


def share_kind(connection: Conn, kind: str) -> None:
    """Until the transaction ends, the direct log writes nothing of the kind."""
    connection.execute("select pg_advisory_xact_lock_shared(%s, hashtext(%s))", (LOCKS["kind"], kind))


def merge_alone(connection: Conn, kind: str) -> None:
    """Until the transaction ends, this is the only writer of the rollups of a kind: sketches are read, merged and written whole."""
    connection.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (LOCKS["merge"], kind))


def share_rollup(connection: Conn, name: str) -> None:
    """Until the transaction ends, no rebuild replaces rows of the rollup."""
    connection.execute("select pg_advisory_xact_lock_shared(%s, hashtext(%s))", (LOCKS["rollup"], name))


def own_rollup(connection: Conn, name: str) -> None:
    """Until the transaction ends, no sink adds to the rollup."""
    connection.execute("select pg_advisory_xact_lock(%s, hashtext(%s))", (LOCKS["rollup"], name))


def next_batch(connection: Conn) -> Callable[[], int]:
    """Asks for the number of a new batch; the answer, when called, has it."""
    cursor = connection.execute("select nextval('store.batch_number')")
    number: list[int] = []

    def answer() -> int:
        if not number:
            row = cursor.fetchone()
            assert row is not None
            number.append(int(row[0]))
        return number[0]

    return answer


def above_known(
    connection: Conn, kind: str, organizations: Sequence[UUID], events: Sequence[Event], positions: Sequence[int]
) -> Iterator[int]:
    """Yields the positions of the numbered events that are above what their source was known by, and raises that mark.

    Within one call a source's numbers may come in any order; each counts once.
    """
    if not positions:
        return
    wanted = sorted({(organizations[p], events[p].source) for p in positions}, key=lambda pair: (pair[0].int, pair[1]))
    sources = ([str(organization) for organization, _ in wanted], [source for _, source in wanted])
    rows = connection.execute(
        "select s.organization, s.source, s.sequence from store.source_sequence s"
        " join unnest(%s::uuid[], %s::text[]) as w (organization, source) using (organization, source) where s.kind = %s",
        (*sources, kind),
    ).fetchall()
    known = {(organization, source): int(sequence) for organization, source, sequence in rows}
    marks = dict(known)
    here: set[tuple[UUID, str, int]] = set()
    for position in positions:
        source = (organizations[position], events[position].source)
        sequence = events[position].sequence
        assert isinstance(sequence, int)
        if sequence > known.get(source, -1) and (*source, sequence) not in here:
            here.add((*source, sequence))
            marks[source] = max(marks.get(source, -1), sequence)
            yield position
    raised = sorted(
        ((o, s, n) for (o, s), n in marks.items() if n != known.get((o, s))), key=lambda row: (row[0].int, row[1])
    )
    if raised:
        connection.execute(
            "insert into store.source_sequence as t (organization, kind, source, sequence)"
            " select organization, %s, source, sequence from unnest(%s::uuid[], %s::text[], %s::bigint[])"
            " as s (organization, source, sequence)"
            " on conflict (organization, kind, source) do update set sequence = excluded.sequence, heard_at = now()",
            (kind, [str(o) for o, _, _ in raised], [s for _, s, _ in raised], [n for _, _, n in raised]),
        )


def copy_raw(connection: Conn, kind: str, frame: pl.DataFrame, batch: int) -> None:
    """Writes the raw rows by COPY, in pieces, so that the next one is written out while PostgreSQL reads the last."""
    with connection.cursor() as cursor, cursor.copy(copy_statement(frame, f"event_{kind}")) as copy:
        for piece in raw_csv(frame, batch):
            copy.write(piece)


def copy_statement(frame: pl.DataFrame, table: str) -> Composed:
    """The COPY that takes `raw_csv` of the frame into a table of the schema `store`."""
    names = SQL(", ").join(Identifier(name) for name in (*frame.columns, "batch", "item"))
    return SQL("copy {} ({}) from stdin (format csv, null '\\N')").format(Identifier("store", table), names)


def raw_csv(frame: pl.DataFrame, batch: int) -> Iterator[bytes]:
    """The raw rows in CSV, in pieces. Text is quoted always, so that a host called \\N stays one."""
    rows = frame.with_columns(pl.lit(batch).alias("batch"), pl.int_range(frame.height).alias("item"))
    rows = rows.with_columns(
        plain_digits(rows[n]) for n, dtype in frame.schema.items() if isinstance(dtype, pl.Decimal)
    )
    for piece in rows.iter_slices(_PIECE):
        yield piece.write_csv(include_header=False, null_value="\\N", quote_style="non_numeric").encode()


def used_names(kind: str, organizations: Sequence[UUID], events: Sequence[Event]) -> set[tuple[str, str, str]]:
    """Organization, kind and name of the metrics in these events; none for kinds that have no metrics."""
    if kind not in ("system", "enterprise"):
        return set()
    by_organization: dict[UUID, set[str]] = {}
    last: UUID | None = None
    names: set[str] = set()
    for organization, event in zip(organizations, events, strict=True):
        if organization is not last:
            last, names = organization, by_organization.setdefault(organization, set())
        names.update(event.data.metrics)
    return {(str(organization), kind, name) for organization, used in by_organization.items() for name in used}


def metric_names(connection: Conn, used: Collection[tuple[str, str, str]]) -> None:
    """Remembers the metric names that organizations use, which are bounded in number."""
    organizations, kinds, names = zip(*sorted(used), strict=True)
    connection.execute(
        "insert into store.metric_name (organization, kind, name)"
        " select * from unnest(%s::uuid[], %s::text[], %s::text[]) on conflict do nothing",
        (list(organizations), list(kinds), list(names)),
    )


def feed(connection: Conn, batch: int, written: Sequence[tuple[str, pl.DataFrame]], *, from_log: bool = False) -> None:
    """Gives the batch its place in the feed: the last statements before the commit, under a lock held no longer than that.

    Positions are handed out in the order of the commits, so a reader that has seen one has seen all before it. What is accepted
    directly is in at the commit; of what comes `from_log` the least fresh partition says how much is.
    """
    lines = [(organization, kind, *span) for kind, frame in written for organization, *span in spans(frame)]
    connection.execute("select pg_advisory_xact_lock(%s)", (LOCKS["feed"],))
    connection.execute(
        "with head as (update store.feed_head set position = position + %(lines)s returning position - %(lines)s as before),"
        " written as (insert into store.feed"
        " (position, organization, kind, batch, events, first_time, last_time, committed_at)"
        " select before + n, organization, kind, %(batch)s, events, first_time, last_time, clock_timestamp()"
        " from head, unnest(%(o)s::uuid[], %(k)s::text[], %(c)s::integer[], %(f)s::timestamptz[], %(l)s::timestamptz[])"
        " with ordinality as s (organization, kind, events, first_time, last_time, n)"
        " returning position, organization, kind, committed_at)"
        " insert into store.watermark (organization, kind, position, committed_at)"
        " select organization, kind, position, case when %(log)s then least(committed_at,"
        " (select min(p.fresh_until) from store.log_partition p where p.kind = w.kind)) else committed_at end"
        " from written as w order by organization, kind"
        " on conflict (organization, kind) do update set position = excluded.position,"
        " committed_at = greatest(watermark.committed_at, excluded.committed_at)",
        {
            "log": from_log,
            "lines": len(lines),
            "batch": batch,
            "o": [line[0] for line in lines],
            "k": [line[1] for line in lines],
            "c": [line[2] for line in lines],
            "f": [line[3] for line in lines],
            "l": [line[4] for line in lines],
        },
    )
    connection.execute("select pg_notify(%s, (select position::text from store.feed_head))", (CHANNEL,))
