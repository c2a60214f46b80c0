"""The ledgers of one writer: one a kind for the direct log, one a partition for Kafka's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import compress

import structlog

from ingest.log import Position
from ingest.partitions import home_partitions
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

    def fresh(self, connection: Conn, work: Work, positions: Sequence[Position]) -> list[int]:
        """The positions in `work` of the events that were not counted before, sorted; they are written down as known."""
        kept = list(sink_sql.above_known(connection, work.kind, work.organizations, work.events, work.numbered))
        for name, places in _split(work, positions):
            ledger = self._ledger(name)
            ledger.catch_up(connection, self._partition_counts(connection, name))
            hashes = [work.hashes[place] for place in places]
            new = ledger.unknown(connection, hashes)
            if any(new):
                kept += [work.named[place] for place in compress(places, new)]
                ledger.add(connection, list(compress(hashes, new)))
                self._touched.append(ledger)
        return sorted(kept)

    def commit(self, connection: Conn) -> None:
        """The transaction is through: memory takes over what it wrote, and full ledgers are sealed."""
        for ledger in self._touched:
            ledger.commit()
            if ledger.wants_sealing():
                with connection.transaction():
                    sink_sql.lock_ledger(connection, ledger.name)
                    ledger.catch_up(connection, self._partition_counts(connection, ledger.name))
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


def _split(work: Work, positions: Sequence[Position]) -> Iterator[tuple[LedgerName, Sequence[int]]]:
    """The ledgers that know a work's named events, each with the places of its events in `work.named`."""
    if not work.named:
        return
    held = {position.partition: position for position in positions if position.kind == work.kind}
    if not held:
        yield LedgerName(work.kind), range(len(work.named))
        return
    count = next(iter(held.values())).partitions
    homes = home_partitions(b"".join(work.hashes), count)
    for partition in sorted(set(homes.tolist())):
        if partition not in held:
            raise ValueError(f"an event of {work.kind}/{partition} is written without its position")
        yield LedgerName(work.kind, partition, count), (homes == partition).nonzero()[0].tolist()
