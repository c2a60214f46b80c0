"""The ledgers of one writer: one a kind for the direct log, one a partition for Kafka's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

import numpy as np
import polars as pl
import structlog

from ingest.log import Position
from storage import sink_sql
from storage.database import Conn
from storage.group import Work
from storage.ledger import Ledger, LedgerLimits, LedgerName

log = structlog.get_logger(__name__)


class Ledgers:
    """Leaves out of a group what was counted before. What it learns in a transaction it keeps once `commit` is called."""

    def __init__(self, limits: LedgerLimits) -> None:
        self._limits = limits
        self._ledgers: dict[LedgerName, Ledger] = {}
        self._counts: dict[LedgerName, list[int]] = {}
        self._touched: list[Ledger] = []

    def forget(self) -> None:
        """Nothing in memory is trusted any more: everything is read anew."""
        self._ledgers.clear()
        self._counts.clear()
        self._touched.clear()

    def keep(self, held: Sequence[Position]) -> None:
        """Lets go of the ledgers of partitions that are no longer held, and of the memory that they take."""
        names = {LedgerName(p.kind, p.partition, p.partitions) for p in held}
        for name in [name for name in self._ledgers if name.partitions and name not in names]:
            del self._ledgers[name]

    def begin(self) -> None:
        """A transaction begins."""
        self._touched.clear()

    def lock(self, connection: Conn, kind: str, positions: Sequence[Position]) -> None:
        """Until the transaction ends nobody else writes what this kind's events are known by.

        The rows of the positions are taken already (storage.fence), which holds off other writers of the same partitions.
        """
        if not any(position.kind == kind for position in positions):
            sink_sql.lock_ledger(connection, LedgerName(kind))
        else:
            sink_sql.share_kind(connection, kind)

    def ask(self, connection: Conn, works: Sequence[Work]) -> None:
        """Asks for what other writers have added to all ledgers that know events of the works; `fresh` takes the answers."""
        for work in works:
            for some in work.identities:
                self._ledger(some.name).ask(connection, self._partition_counts(connection, some.name))

    def fresh(self, connection: Conn, work: Work) -> pl.Series:
        """For each row of `work` whether its event was not counted before; those are written down as known."""
        new = np.zeros(sum(len(some.hashes) for some in work.identities), dtype=bool)
        for some in work.identities:
            ledger = self._ledger(some.name)
            ledger.catch_up(connection)
            found = ledger.unknown(connection, some)
            if any(found):
                new[some.rows] = found
                ledger.add(connection, some.hashes if all(found) else list(compress(some.hashes, found)))
                self._touched.append(ledger)
        if not work.numbered:
            return pl.Series(new)
        keep = sink_sql.above_known(connection, work.kind, work.frame)
        named = work.frame["sequence"].is_null().arg_true()
        return keep.scatter(named, pl.Series(new)) if len(named) else keep

    def commit(self, connection: Conn) -> None:
        """The transaction is through: memory takes over what it wrote, and full ledgers are sealed."""
        for ledger in self._touched:
            ledger.commit()
            if ledger.wants_sealing():
                with connection.transaction():
                    sink_sql.lock_ledger(connection, ledger.name)
                    ledger.ask(connection, self._partition_counts(connection, ledger.name))
                    ledger.catch_up(connection)
                    if ledger.wants_sealing():
                        ledger.seal(connection)
                        log.info("ledger_sealed", ledger=str(ledger.name))

    def _ledger(self, name: LedgerName) -> Ledger:
        if name not in self._ledgers:
            self._ledgers[name] = Ledger(name, self._limits)
        return self._ledgers[name]

    def _partition_counts(self, connection: Conn, name: LedgerName) -> list[int]:
        """All numbers of partitions that the kind has or had. A partition's writer is fenced before the number changes."""
        if name.partitions and name in self._counts:
            return self._counts[name]
        row = connection.execute(
            "select partitions || previous from store.log_topic where kind = %s", (name.kind,)
        ).fetchone()
        self._counts[name] = row[0] if row is not None else []
        return self._counts[name]
