"""The sink: one transaction a group of batches, in which every event is counted exactly once or the whole group not at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import psycopg
import structlog

from aggregators.rollup import Rollup
from ingest.log import Batch, DeadLetter, Outcome, Position, Refusal, Unavailable
from storage import fence, sink_sql
from storage.database import SINK_ROLE, Conn, StorageRefused, StorageUnavailable, connect, translate
from storage.group import PackedBatch, Work, pack_batch, prepare
from storage.ledger import LedgerLimits
from storage.ledgers import Ledgers
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
        self._ledgers = Ledgers(limits or LedgerLimits())
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

    def keep(self, held: Sequence[Position]) -> None:
        """Lets go of what is known of partitions that are no longer held."""
        self._ledgers.keep(held)

    def pack(self, batch: Batch) -> PackedBatch:
        """Takes a batch apart into columns. Any thread may call it."""
        return pack_batch(batch)

    def prepare(self, group: Sequence[Batch | PackedBatch], positions: Sequence[Position] = ()) -> list[Work]:
        """Does what else needs no database. Any thread may call it while another one writes, with the same positions."""
        return prepare(group, self._rollups, self._reserved.popleft() if self._reserved else None, positions)

    def write(
        self,
        batches: Sequence[Batch | PackedBatch],
        prepared: list[Work] | None = None,
        positions: Sequence[Position] = (),
        dead: Sequence[DeadLetter] = (),
    ) -> Outcome:
        """Counts every event of the group once; `prepared` is what `prepare` made of it. See ingest.log.Sink.

        With `positions` the events are those of partitions of Kafka's log, each event of the partition that its key belongs to,
        and their positions are moved in the same transaction: Fenced is raised where one cannot be, and nothing is written.
        Where the database refuses events all others are counted, and the positions are not moved (`Outcome.moved`): write
        nothing with the same positions once the refused ones are put away. `dead` are the records that are passed uncounted.
        """
        works = self.prepare(batches, positions) if prepared is None else prepared
        return self._write(batches, works, positions, dead, hold=False)

    def _write(
        self,
        batches: Sequence[Batch | PackedBatch],
        works: list[Work],
        positions: Sequence[Position],
        dead: Sequence[DeadLetter],
        *,
        hold: bool,
    ) -> Outcome:
        for attempt in range(1, _RETRIES + 1):
            try:
                return self._attempt(batches, works, positions, dead, hold=hold)
            except _RETRYABLE as error:
                self._forget()
                log.warning("sink_retries", attempt=attempt, reason=type(error).__name__)
            except psycopg.Error as error:
                self._forget()
                translated = translate(error)
                if isinstance(translated, StorageRefused) and batches:
                    return self._bisect(batches, str(translated), positions)
                if isinstance(error, psycopg.errors.OutOfMemory) and sum(batch.size for batch in batches) > 1:
                    # Years of days in one group: the locks on as many chunks do not fit, and would not the next time either.
                    log.warning("group_halved", reason=str(translated))
                    return self._bisect(batches, str(translated), positions)
                raise Unavailable(f"the database cannot take events: {translated}", retry_after=2.0) from error
            except StorageUnavailable as error:
                raise Unavailable(f"the database cannot take events: {error}", retry_after=2.0) from error
        raise Unavailable("the database is too busy", retry_after=2.0)

    def _forget(self) -> None:
        """After a failure nothing in memory is trusted: connection and ledgers are made anew."""
        self._ledgers.forget()
        self._writers.clear()
        self._names.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _bisect(self, group: Sequence[Batch | PackedBatch], reason: str, positions: Sequence[Position]) -> Outcome:
        """Halves the group: until only the events that the database refuses are left out, or each part fits into a transaction.

        Each half is a transaction of its own that holds the positions and does not move them: what it counts is known should
        the partition be read again from there.
        """
        if len(group) > 1:
            middle = len(group) // 2
            halves = [self._half(part, positions) for part in (group[:middle], group[middle:])]
            refusals = halves[0].refusals + halves[1].refusals
            return Outcome(
                refusals,
                halves[0].counted + halves[1].counted,
                halves[0].known + halves[1].known,
                moved=not positions,
            )
        batch = group[0] if isinstance(group[0], PackedBatch) else pack_batch(group[0])
        if batch.size == 1:
            log.warning("event_refused_by_database", kind=batch.parts[0].kind, reason=reason)
            refusal = Refusal(0, f"event: refused when it was stored: {reason}")
            return Outcome([[refusal]], 0, 0, moved=not positions)
        # Lower numbers first: the half that is written raises its sources' marks.
        sequences = batch.sequences()
        order = sorted(range(batch.size), key=lambda position: sequences[position])
        middle = len(order) // 2
        halves, refused = [], []
        for half in (order[:middle], order[middle:]):
            outcome = self._half([batch.only(half)], positions)
            refused += [Refusal(half[refusal.position], refusal.error) for refusal in outcome.refusals[0]]
            halves.append(outcome)
        refused.sort(key=lambda refusal: refusal.position)
        counted, known = sum(half.counted for half in halves), sum(half.known for half in halves)
        return Outcome([refused], counted, known, moved=not positions)

    def _half(self, group: Sequence[Batch | PackedBatch], positions: Sequence[Position]) -> Outcome:
        return self._write(group, self.prepare(group, positions), positions, (), hold=True)

    def _attempt(
        self,
        group: Sequence[Batch | PackedBatch],
        works: list[Work],
        positions: Sequence[Position],
        dead: Sequence[DeadLetter],
        *,
        hold: bool,
    ) -> Outcome:
        """The transaction. What needs no answer at once goes down a pipeline, so that a small batch waits for few round trips."""
        if self._connection is None:
            self._connection = connect(self._url, name="sink", writer=True, role=SINK_ROLE)
        connection = self._connection
        batch = works[0].batch if works else None
        if batch is None:
            (batch,) = sink_sql.batch_numbers(connection, 1)()
        self._ledgers.begin()
        with connection.transaction():
            with connection.pipeline():
                # The rows of the partitions first, then the kinds in one order, so that no two writers wait in a ring.
                moved = fence.move(connection, positions, hold=hold) if positions else None
                for work in works:
                    self._ledgers.lock(connection, work.kind, positions)
                reserved = sink_sql.batch_numbers(connection, _AHEAD - len(self._reserved))
                self._ledgers.ask(connection, works)
                # Before any answer of the ledgers is taken: without the fence they may miss what another one has not committed.
                if moved is not None:
                    fence.check(moved, positions)
                if dead:
                    fence.bury(connection, dead)
                fresh = [work.only(self._ledgers.fresh(connection, work), self._rollups) for work in works]
                fresh = [work.written_out(batch) for work in fresh if work.frame.height]
            self._reserved += reserved()
            for work in fresh:
                sink_sql.copy_raw(connection, work.kind, work.frame, work.csv)
            names = set().union(*(work.names for work in fresh)) - self._names
            with connection.pipeline():
                if names:
                    sink_sql.metric_names(connection, names)
                for work in fresh:
                    sink_sql.merge_alone(connection, work.kind)
                for work in fresh:
                    if work.kind == "view":
                        current_reactions(connection, work.frame)
                    self._roll_up(connection, work)
                if fresh:
                    sink_sql.feed(
                        connection,
                        batch,
                        [(work.kind, work.spans) for work in fresh],
                        from_log=bool(positions),
                    )
            if self._before_commit is not None:
                self._before_commit(connection)
        self._names |= names
        self._ledgers.commit(connection)
        counted = sum(work.frame.height for work in fresh)
        return Outcome([[] for _ in group], counted, sum(work.frame.height for work in works) - counted, moved=not hold)

    def _roll_up(self, connection: Conn, work: Work) -> None:
        for name in sorted({rows.rollup.name for rows in work.rows}):
            sink_sql.share_rollup(connection, name)
        for rows in work.rows:
            writer = self._writers.get((rows.rollup.name, rows.grain))
            if writer is None:
                writer = self._writers[rows.rollup.name, rows.grain] = RollupWriter(connection, rows.rollup, rows.grain)
            writer.add(connection, rows)
