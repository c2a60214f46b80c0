"""The sink: one transaction a group of batches, in which every event is counted exactly once or the whole group not at all."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import polars as pl
import psycopg
import structlog

from aggregators.engine import aggregate
from aggregators.frames import raw_frame
from aggregators.rollup import Rollup
from ingest.events import Event
from ingest.log import Batch, Outcome, Refusal, Unavailable
from storage import rollup_sql, sink_sql
from storage.database import Conn, StorageRefused, StorageUnavailable, connect, translate
from storage.ledger import Ledger, LedgerLimits, identity
from storage.reactions import current_reactions

log = structlog.get_logger(__name__)

_RETRIES = 5
_RETRYABLE = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)


@dataclass
class _Work:
    """The events of one kind in a group, each with where it came from."""

    kind: str
    organizations: list[UUID] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    origins: list[tuple[int, int]] = field(default_factory=list)


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
        self._connection: Conn | None = None
        self._before_commit = before_commit

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def write(self, batches: Sequence[Batch]) -> Outcome:
        """Counts every event of the group once. See ingest.log.Sink."""
        for attempt in range(1, _RETRIES + 1):
            try:
                return self._attempt(batches)
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
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _bisect(self, batches: Sequence[Batch], reason: str) -> Outcome:
        """The database refused something: halves the group until only the guilty events are left out."""
        if len(batches) > 1:
            middle = len(batches) // 2
            halves = [self.write(batches[:middle]), self.write(batches[middle:])]
            refusals = halves[0].refusals + halves[1].refusals
            return Outcome(refusals, halves[0].counted + halves[1].counted, halves[0].known + halves[1].known)
        batch = batches[0]
        if len(batch.events) == 1:
            log.warning("event_refused_by_database", kind=batch.events[0].kind, reason=reason)
            return Outcome([[Refusal(0, f"event: refused by the database: {reason}")]], 0, 0)
        middle = len(batch.events) // 2
        first = self.write([Batch(batch.organization, batch.events[:middle])])
        second = self.write([Batch(batch.organization, batch.events[middle:])])
        moved = [Refusal(refusal.position + middle, refusal.error) for refusal in second.refusals[0]]
        return Outcome([first.refusals[0] + moved], first.counted + second.counted, first.known + second.known)

    def _attempt(self, batches: Sequence[Batch]) -> Outcome:
        if self._connection is None:
            self._connection = connect(self._url, name="sink")
        connection = self._connection
        works = _by_kind(batches)
        total = sum(len(work.events) for work in works)
        counted = 0
        ledgers = [self._ledger(work.kind) for work in works]
        with connection.transaction():
            # One writer a kind at a time: what it reads of the ledger is all there is. Kinds in one order, so no two wait in a ring.
            for work in works:
                sink_sql.lock_kind(connection, work.kind)
            fresh = [self._fresh(connection, ledger, work) for ledger, work in zip(ledgers, works, strict=True)]
            batch = sink_sql.next_batch(connection) if any(work.events for work in fresh) else 0
            frames = [_frame(work) for work in fresh]
            for work, frame in zip(fresh, frames, strict=True):
                if work.events:
                    counted += len(work.events)
                    sink_sql.copy_raw(connection, work.kind, frame, batch)
                    sink_sql.metric_names(connection, work.kind, work.organizations, work.events)
                    if work.kind == "view":
                        current_reactions(connection, frame)
            for work, frame in zip(fresh, frames, strict=True):
                if work.events:
                    self._roll_up(connection, work.kind, frame)
            if counted:
                sink_sql.feed(connection, batch, [(w.kind, f) for w, f in zip(fresh, frames, strict=True) if w.events])
            if self._before_commit is not None:
                self._before_commit(connection)
        for ledger in ledgers:
            ledger.commit()
            if ledger.wants_sealing():
                self._seal(connection, ledger)
        return Outcome([[] for _ in batches], counted, total - counted)

    def _ledger(self, kind: str) -> Ledger:
        if kind not in self._ledgers:
            self._ledgers[kind] = Ledger(kind, self._limits)
        return self._ledgers[kind]

    def _fresh(self, connection: Conn, ledger: Ledger, work: _Work) -> _Work:
        """Leaves out what was counted before, and writes down what is counted now."""
        ledger.catch_up(connection)
        numbered = [position for position, event in enumerate(work.events) if event.sequence is not None]
        named = [position for position, event in enumerate(work.events) if event.sequence is None]
        keep = set(sink_sql.above_known(connection, work.kind, work.organizations, work.events, numbered))
        hashes = [identity(work.organizations[p], work.kind, work.events[p].source, work.events[p].id) for p in named]
        new = ledger.unknown(connection, hashes)
        keep.update(position for position, is_new in zip(named, new, strict=True) if is_new)
        kept_hashes = [item for item, is_new in zip(hashes, new, strict=True) if is_new]
        if kept_hashes:
            ledger.add(connection, kept_hashes)
        if len(keep) == len(work.events):
            return work
        order = sorted(keep)
        return _Work(work.kind, [work.organizations[p] for p in order], [work.events[p] for p in order])

    def _roll_up(self, connection: Conn, kind: str, frame: pl.DataFrame) -> None:
        for rollup in self._rollups:
            if rollup.event == kind:
                sink_sql.share_rollup(connection, rollup.name)
                for part in aggregate(rollup, frame):
                    for grain, rows in part.items():
                        statement = rollup_sql.upsert(rollup, grain, rollup_sql.table(rollup, grain))
                        connection.execute(statement, rollup_sql.array_literals(rows))

    def _seal(self, connection: Conn, ledger: Ledger) -> None:
        with connection.transaction():
            sink_sql.lock_kind(connection, ledger.kind)
            ledger.catch_up(connection)
            if ledger.wants_sealing():
                ledger.seal(connection)
        log.info("ledger_sealed", kind=ledger.kind, at=dt.datetime.now(dt.UTC).isoformat())


def _by_kind(batches: Sequence[Batch]) -> list[_Work]:
    works: dict[str, _Work] = defaultdict(lambda: _Work(""))
    for number, batch in enumerate(batches):
        for position, event in enumerate(batch.events):
            work = works[event.kind]
            work.kind = event.kind
            work.organizations.append(batch.organization)
            work.events.append(event)
            work.origins.append((number, position))
    return [works[kind] for kind in sorted(works)]


def _frame(work: _Work) -> pl.DataFrame:
    return raw_frame(work.kind, [str(organization) for organization in work.organizations], work.events)
