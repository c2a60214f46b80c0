"""The statements of the sink's transaction, one function a step."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from typing import Any

import polars as pl
from psycopg.sql import SQL, Composed, Identifier

from storage.arrays import literal
from storage.database import Conn
from storage.ledger import LedgerName

CHANNEL = "streamgauge_commit"
"""Where a commit is announced; the payload is the feed's new position. A hint: truth is read from the feed."""

LOCKS = {"kind": 731_001, "rollup": 731_002, "feed": 731_003, "merge": 731_004}
"""First keys of the advisory locks; the second key is the hash of a kind's or rollup's name."""


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


def batch_numbers(connection: Conn, count: int) -> Callable[[], list[int]]:
    """Asks for the numbers of new batches; the answer, when called, has them. No other writer ever gets the same."""
    cursor = connection.execute("select nextval('store.batch_number') from generate_series(1, %s)", (count,))
    return lambda: [int(number) for (number,) in cursor.fetchall()]


def above_known(connection: Conn, kind: str, frame: pl.DataFrame) -> pl.Series:
    """For each raw row whether it has a sequence above what its source was known by; raises that mark.

    Within one call a source's numbers may come in any order; each counts once.
    """
    numbered = frame.select("organization", "source", "sequence", pl.int_range(frame.height).alias("row")).drop_nulls()
    sources = numbered.select("organization", "source").unique().sort("organization", "source")
    stored = connection.execute(
        "select s.organization::text, s.source, s.sequence from store.source_sequence s"
        " join unnest(%s::uuid[], %s::text[]) as w (organization, source) using (organization, source) where s.kind = %s",
        (literal(sources["organization"]), literal(sources["source"]), kind),
    ).fetchall()
    marks = {"organization": pl.String, "source": pl.String, "known": pl.Int64}
    new = (
        numbered.join(pl.DataFrame(stored, marks, orient="row"), on=["organization", "source"], how="left")
        .filter(pl.col("sequence") > pl.col("known").fill_null(-1))
        .sort("row")
        .unique(["organization", "source", "sequence"], keep="first")
    )
    raised = new.group_by("organization", "source").agg(pl.col("sequence").max()).sort("organization", "source")
    if raised.height:
        connection.execute(
            "insert into store.source_sequence as t (organization, kind, source, sequence)"
            " select organization, %s, source, sequence from unnest(%s::uuid[], %s::text[], %s::bigint[])"
            " as s (organization, source, sequence)"
            " on conflict (organization, kind, source) do update set sequence = excluded.sequence, heard_at = now()",
            (kind, *(literal(raised[name]) for name in ("organization", "source", "sequence"))),
        )
    return pl.int_range(frame.height, eager=True).is_in(new["row"].implode())


def copy_raw(connection: Conn, kind: str, frame: pl.DataFrame, csv: bytes) -> None:
    """Writes raw rows by COPY; `csv` is `raw_csv` of the frame."""
    with connection.cursor() as cursor, cursor.copy(copy_statement(frame, f"event_{kind}")) as copy:
        copy.write(csv)


def copy_statement(frame: pl.DataFrame, table: str) -> Composed:
    """The COPY that takes `raw_csv` of the frame into a table of the schema `store`."""
    names = SQL(", ").join(Identifier(name) for name in (*frame.columns, "batch", "item"))
    return SQL("copy {} ({}) from stdin (format csv, null '\\N')").format(Identifier("store", table), names)


def raw_csv(frame: pl.DataFrame, batch: int) -> bytes:
    """The raw rows (see `frames.raw_frame`) in CSV. Text is quoted always, so that a host called \\N stays one."""
    rows = frame.with_columns(pl.lit(batch).alias("batch"), pl.int_range(frame.height).alias("item"))
    # Bytes as they are written: a text would be decoded and encoded again, with Python's lock held.
    written = io.BytesIO()
    rows.write_csv(written, include_header=False, null_value="\\N", quote_style="non_numeric")
    return written.getvalue()


def metric_names(connection: Conn, used: Collection[tuple[str, str, str]]) -> None:
    """Remembers the metric names that organizations use, which are bounded in number."""
    organizations, kinds, names = zip(*sorted(used), strict=True)
    connection.execute(
        "insert into store.metric_name (organization, kind, name)"
        " select * from unnest(%s::uuid[], %s::text[], %s::text[]) on conflict do nothing",
        (list(organizations), list(kinds), list(names)),
    )


def feed(
    connection: Conn, batch: int, written: Sequence[tuple[str, Sequence[tuple[Any, ...]]]], *, from_log: bool = False
) -> None:
    """Gives the batch its place in the feed: the last statements before the commit, under a lock held no longer than that.

    `written` has for each kind what `frames.spans` says of its raw rows.

    Positions are handed out in the order of the commits, so a reader that has seen one has seen all before it. What is accepted
    directly is in at the commit; of what comes `from_log` the least fresh partition says how much is.
    """
    lines = [(organization, kind, *span) for kind, spans in written for organization, *span in spans]
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
