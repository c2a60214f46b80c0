"""The sink: one transaction a group of batches, in which every event is counted exactly once or the whole group not at all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from itertools import compress

import psycopg
import structlog

from aggregators.rollup import Rollup
from ingest.log import Batch, Outcome, Refusal, Unavailable
from storage import sink_sql
from storage.database import Conn, StorageRefused, StorageUnavailable, connect, translate
from storage.group import Work, prepare
from storage.ledger import Ledger, LedgerLimits
from storage.reactions import current_reactions
from storage.rollup_write import RollupWriter

log = structlog.get_logger(__name__)

_RETRIES = 5
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
        self._connection: Conn | None = None
        self._before_commit = before_commit

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def prepare(self, batches: Sequence[Batch]) -> list[Work]:
        """Does what needs no database. Any thread may call it while another one writes."""
        return prepare(batches, self._rollups)

    def write(self, batches: Sequence[Batch], prepared: list[Work] | None = None) -> Outcome:
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
                if isinstance(error, psycopg.errors.OutOfMemory) and sum(len(batch.events) for batch in batches) > 1:
                    # Years of days in one group: the locks on as many chunks do not fit, and would not the next time either.
                    log.warning("group_halved", reason=str(translated))
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

    def _bisect(self, batches: Sequence[Batch], reason: str) -> Outcome:
        """Halves the group: until only the events that the database refuses are left out, or each part fits into a transaction."""
        if len(batches) > 1:
            middle = len(batches) // 2
            halves = [self.write(batches[:middle]), self.write(batches[middle:])]
            refusals = halves[0].refusals + halves[1].refusals
            return Outcome(refusals, halves[0].counted + halves[1].counted, halves[0].known + halves[1].known)
        batch = batches[0]
        if len(batch.events) == 1:
            log.warning("event_refused_by_database", kind=batch.events[0].kind, reason=reason)
            return Outcome([[Refusal(0, f"event: refused when it was stored: {reason}")]], 0, 0)
        # Lower numbers first: the half that is written raises its sources' marks.
        order = sorted(range(len(batch.events)), key=lambda position: batch.events[position].sequence or 0)
        middle = len(order) // 2
        halves, refused = [], []
        for half in (order[:middle], order[middle:]):
            outcome = self.write([Batch(batch.organization, [batch.events[position] for position in half])])
            refused += [Refusal(half[refusal.position], refusal.error) for refusal in outcome.refusals[0]]
            halves.append(outcome)
        refused.sort(key=lambda refusal: refusal.position)
        return Outcome([refused], sum(half.counted for half in halves), sum(half.known for half in halves))

    def _attempt(self, batches: Sequence[Batch], works: list[Work]) -> Outcome:
        """The transaction. What needs no answer at once goes down a pipeline, so that a small batch waits for few round trips."""
        if self._connection is None:
            self._connection = connect(self._url, name="sink")
        connection = self._connection
        ledgers = [self._ledger(work.kind) for work in works]
        names: set[tuple[str, str, str]] = set()
        with connection.transaction():
            with connection.pipeline():
                # One writer a kind at a time: what it reads of the ledger is all there is. Kinds in one order, so no two wait in a ring.
                for work in works:
                    sink_sql.lock_kind(connection, work.kind)
                batch = sink_sql.next_batch(connection)
                fresh = [self._fresh(connection, ledger, work) for ledger, work in zip(ledgers, works, strict=True)]
                fresh = [work for work in fresh if work.events]
            for work in fresh:
                sink_sql.copy_raw(connection, work.kind, work.frame, batch())
            with connection.pipeline():
                for work in fresh:
                    names |= self._new_names(connection, work)
                    if work.kind == "view":
                        current_reactions(connection, work.frame)
                for work in fresh:
                    self._roll_up(connection, work)
                if fresh:
                    sink_sql.feed(connection, batch(), [(work.kind, work.frame) for work in fresh])
            if self._before_commit is not None:
                self._before_commit(connection)
        self._names |= names
        for ledger in ledgers:
            ledger.commit()
            if ledger.wants_sealing():
                self._seal(connection, ledger)
        counted = sum(len(work.events) for work in fresh)
        return Outcome([[] for _ in batches], counted, sum(len(work.events) for work in works) - counted)

    def _ledger(self, kind: str) -> Ledger:
        if kind not in self._ledgers:
            self._ledgers[kind] = Ledger(kind, self._limits)
        return self._ledgers[kind]

    def _fresh(self, connection: Conn, ledger: Ledger, work: Work) -> Work:
        """Leaves out what was counted before, and writes down what is counted now."""
        ledger.catch_up(connection)
        keep = list(sink_sql.above_known(connection, work.kind, work.organizations, work.events, work.numbered))
        new = ledger.unknown(connection, work.hashes)
        keep += compress(work.named, new)
        hashes = list(compress(work.hashes, new))
        if hashes:
            ledger.add(connection, hashes)
        return work.only(sorted(keep), self._rollups)

    def _new_names(self, connection: Conn, work: Work) -> set[tuple[str, str, str]]:
        """Remembers the metric names that an organization uses for the first time; returns them."""
        used = sink_sql.used_names(work.kind, work.organizations, work.events) - self._names
        if used:
            sink_sql.metric_names(connection, used)
        return used

    def _roll_up(self, connection: Conn, work: Work) -> None:
        for name in sorted({rollup.name for rollup, _ in work.rows}):
            sink_sql.share_rollup(connection, name)
        for rollup, grains in work.rows:
            for grain, rows in grains.items():
                writer = self._writers.get((rollup.name, grain))
                if writer is None:
                    writer = self._writers[rollup.name, grain] = RollupWriter(connection, rollup, grain)
                writer.add(connection, rows)

    def _seal(self, connection: Conn, ledger: Ledger) -> None:
        with connection.transaction():
            sink_sql.lock_kind(connection, ledger.kind)
            ledger.catch_up(connection)
            if ledger.wants_sealing():
                ledger.seal(connection)
        log.info("ledger_sealed", kind=ledger.kind, at=dt.datetime.now(dt.UTC).isoformat())
