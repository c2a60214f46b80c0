"""The sink: one transaction a group of batches, in which every event is counted exactly once or the whole group not at all."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Sequence
from itertools import compress

import psycopg
import structlog

from aggregators.rollup import Rollup
from ingest.log import Batch, Outcome, Refusal, Unavailable
from storage import sink_sql
from storage.database import Conn, StorageRefused, StorageUnavailable, connect, translate
from storage.group import PackedBatch, Work, pack_batch, prepare
from storage.ledger import Ledger, LedgerLimits
from storage.reactions import current_reactions
from storage.rollup_write import RollupWriter

log = structlog.get_logger(__name__)

_RETRIES = 5
_AHEAD = 2
"""Batch numbers that are kept ready: one for the group that is being written, one for the next."""
_RETRYABLE = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)


class DatabaseSink:
    """Writes groups of batches over one connection; made for one thread. A lost connection is opened again."""

    def __init__(
        self,
        url: str,
        rollups: Sequence[Rollup],
        *,
        limits: LedgerLimits | None = None,
        before_commit: Callable[[Conn], None] | None = None,
    ) -> None:
        self._url = url
        self._rollups = rollups
        self._limits = limits or LedgerLimits()
        self._ledgers: dict[str, Ledger] = {}
        self._writers: dict[tuple[str, str], RollupWriter] = {}
        self._names: set[tuple[str, str, str]] = set()
        # Batch numbers taken ahead, so that raw rows can be written out while another group commits.
        self._reserved: deque[int] = deque()
        self._connection: Conn | None = None
        self._before_commit = before_commit

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def pack(self, batch: Batch) -> PackedBatch:
        """Takes a batch apart into columns. Any thread may call it."""
        return pack_batch(batch)

    def prepare(self, group: Sequence[Batch | PackedBatch]) -> list[Work]:
        """Does what else needs no database. Any thread may call it while another one writes."""
        return prepare(group, self._rollups, self._reserved.popleft() if self._reserved else None)

    def write(self, batches: Sequence[Batch | PackedBatch], prepared: list[Work] | None = None) -> Outcome:
        """Counts every event of the group once; `prepared` is what `prepare` made of it. See ingest.log.Sink."""
        works = self.prepare(batches) if prepared is None else prepared
        for attempt in range(1, _RETRIES + 1):
            try:
                return self._attempt(batches, works)
            except _RETRYABLE as error:
                self._forget()
                log.warning("sink_retries", attempt=attempt, reason=type(error).__name__)
            except psycopg.Error as error:
                self._forget()
                translated = translate(error)
                if isinstance(translated, StorageRefused):
                    return self._bisect(batches, str(translated))
                raise Unavailable(f"the database cannot take events: {translated}", retry_after=2.0) from error
            except StorageUnavailable as error:
                raise Unavailable(f"the database cannot take events: {error}", retry_after=2.0) from error
        raise Unavailable("the database is too busy", retry_after=2.0)

    def _forget(self) -> None:
        """After a failure nothing in memory is trusted: connection and ledgers are made anew."""
        self._ledgers.clear()
        self._writers.clear()
        self._names.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _bisect(self, group: Sequence[Batch | PackedBatch], reason: str) -> Outcome:
        """The database refused something: halves the group until only the guilty events are left out."""
        if len(group) > 1:
            middle = len(group) // 2
            halves = [self.write(group[:middle]), self.write(group[middle:])]
            refusals = halves[0].refusals + halves[1].refusals
            return Outcome(refusals, halves[0].counted + halves[1].counted, halves[0].known + halves[1].known)
        batch = group[0] if isinstance(group[0], PackedBatch) else pack_batch(group[0])
        if batch.size == 1:
            log.warning("event_refused_by_database", kind=batch.parts[0].kind, reason=reason)
            return Outcome([[Refusal(0, f"event: refused when it was stored: {reason}")]], 0, 0)
        # Lower numbers first: the half that is written raises its sources' marks.
        sequences = batch.sequences()
        order = sorted(range(batch.size), key=lambda position: sequences[position])
        middle = len(order) // 2
        halves, refused = [], []
        for half in (order[:middle], order[middle:]):
            outcome = self.write([batch.only(half)])
            refused += [Refusal(half[refusal.position], refusal.error) for refusal in outcome.refusals[0]]
            halves.append(outcome)
        refused.sort(key=lambda refusal: refusal.position)
        return Outcome([refused], sum(half.counted for half in halves), sum(half.known for half in halves))

    def _attempt(self, group: Sequence[Batch | PackedBatch], works: list[Work]) -> Outcome:
        """The transaction. What needs no answer at once goes down a pipeline, so that a small batch waits for few round trips."""
        if self._connection is None:
            self._connection = connect(self._url, name="sink")
        connection = self._connection
        batch = works[0].batch if works else None
        if batch is None:
            (batch,) = sink_sql.batch_numbers(connection, 1)()
        ledgers = [self._ledger(work.kind) for work in works]
        with connection.transaction():
            with connection.pipeline():
                # One writer a kind at a time: what it reads of the ledger is all there is. Kinds in one order, so no two wait in a ring.
                for work in works:
                    sink_sql.lock_kind(connection, work.kind)
                reserved = sink_sql.batch_numbers(connection, _AHEAD - len(self._reserved))
                fresh = [self._fresh(connection, ledger, work) for ledger, work in zip(ledgers, works, strict=True)]
                fresh = [work.written_out(batch) for work in fresh if work.frame.height]
            self._reserved += reserved()
            for work in fresh:
                sink_sql.copy_raw(connection, work.kind, work.frame, work.csv)
            names = set().union(*(work.names for work in fresh)) - self._names
            with connection.pipeline():
                if names:
                    sink_sql.metric_names(connection, names)
                for work in fresh:
                    if work.kind == "view":
                        current_reactions(connection, work.frame)
                for work in fresh:
                    self._roll_up(connection, work)
                if fresh:
                    sink_sql.feed(connection, batch, [(work.kind, work.frame) for work in fresh])
            if self._before_commit is not None:
                self._before_commit(connection)
        self._names |= names
        for ledger in ledgers:
            ledger.commit()
            if ledger.wants_sealing():
                self._seal(connection, ledger)
        counted = sum(work.frame.height for work in fresh)
        return Outcome([[] for _ in group], counted, sum(work.frame.height for work in works) - counted)

    def _ledger(self, kind: str) -> Ledger:
        if kind not in self._ledgers:
            self._ledgers[kind] = Ledger(kind, self._limits)
        return self._ledgers[kind]

    def _fresh(self, connection: Conn, ledger: Ledger, work: Work) -> Work:
        """Leaves out what was counted before, and writes down what is counted now."""
        ledger.catch_up(connection)
        keep = sink_sql.above_known(connection, work.kind, work.frame)
        new = ledger.unknown(connection, work.hashes)
        hashes = work.hashes if all(new) else list(compress(work.hashes, new))
        if hashes:
            ledger.add(connection, hashes)
        if new:
            named = work.frame["sequence"].is_null()
            keep = keep.scatter(named.arg_true(), new)
        return work.only(keep, self._rollups)

    def _roll_up(self, connection: Conn, work: Work) -> None:
        for name in sorted({rows.rollup.name for rows in work.rows}):
            sink_sql.share_rollup(connection, name)
        for rows in work.rows:
            writer = self._writers.get((rows.rollup.name, rows.grain))
            if writer is None:
                writer = self._writers[rows.rollup.name, rows.grain] = RollupWriter(connection, rows.rollup, rows.grain)
            writer.add(connection, rows)

    def _seal(self, connection: Conn, ledger: Ledger) -> None:
        with connection.transaction():
            sink_sql.lock_kind(connection, ledger.kind)
            ledger.catch_up(connection)
            if ledger.wants_sealing():
                ledger.seal(connection)
        log.info("ledger_sealed", kind=ledger.kind, at=dt.datetime.now(dt.UTC).isoformat())
