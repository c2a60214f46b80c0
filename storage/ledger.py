"""The ledger: which identities were counted already. Recent ones in memory, older ones behind Bloom filters, all in the database."""

from __future__ import annotations

import bisect
import math
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from psycopg import Cursor
from psycopg.rows import TupleRow

from ingest.identity import HASH_BYTES
from storage.bloom import Filters, Halves, filter_of, split, usual_bits
from storage.database import Conn

_PAGE = 4096


@dataclass(frozen=True)
class LedgerLimits:
    """How long an identity is known: for `window_hours` or as long as `slices` x `slice_ids` newer ones fit, whichever is less."""

    window_hours: int = 48
    slice_ids: int = 250_000
    slices: int = 64

    def divided(self, partitions: int) -> LedgerLimits:
        """The limits of each of so many ledgers that share the identities of a kind."""
        return replace(self, slice_ids=max(1, self.slice_ids // max(1, partitions)))


@dataclass(frozen=True)
class LedgerName:
    """Whose identities a ledger holds: those of a kind that came directly, or those of one of `partitions` partitions."""

    kind: str
    partition: int = 0
    partitions: int = 0

    def __str__(self) -> str:
        return f"{self.kind}/{self.partition}/{self.partitions}" if self.partitions else self.kind

    def relatives(self, counts: Iterable[int]) -> list[LedgerName]:
        """The other ledgers that may hold an identity of this one, where its kind had so many partitions at other times.

        A key's partition is a hash modulo their number, so what lies in partition p of n lay in those q of m that leave the same
        remainder by the greatest common divisor of n and m. What came directly may lie in any.
        """
        own = max(1, self.partitions)
        found = [LedgerName(self.kind)] if self.partitions else []
        for count in sorted(set(counts) - {self.partitions}):
            step = math.gcd(own, count)
            found += [LedgerName(self.kind, q, count) for q in range(self.partition % step, count, step)]
        return found


@dataclass(frozen=True)
class Identities:
    """Identities that one ledger knows, made ready to be held against it.

    `rows` are the places of their events among those events of a work that have no sequence.
    """

    name: LedgerName
    rows: NDArray[np.int64]
    hashes: list[bytes]
    different: frozenset[bytes]
    halves: Halves

    @classmethod
    def of(cls, name: LedgerName, rows: NDArray[np.int64], hashes: list[bytes]) -> Identities:
        """Does what needs no ledger."""
        return cls(name, rows, hashes, frozenset(hashes), split(b"".join(hashes)))


@dataclass
class _Known:
    """What is read of one ledger: its recent batches, and the filters of its slices."""

    name: str
    recent: set[bytes] = field(default_factory=set)
    batches: deque[tuple[int, list[bytes]]] = field(default_factory=deque)
    seen: int = 0
    slices: Filters = field(default_factory=Filters)

    def remember(self, number: int, hashes: list[bytes]) -> None:
        """Takes over a batch."""
        self.batches.append((number, hashes))
        self.recent.update(hashes)
        self.seen = number

    def forget_sealed(self, last: int) -> None:
        """Batches up to a number are in slices now."""
        while self.batches and self.batches[0][0] <= last:
            self.recent.difference_update(self.batches.popleft()[1])


class Ledger:
    """The known identities of one kind of event, or of one partition of it, as one writer sees them.

    Several writers may hold one each: `catch_up` reads what others added, under the lock that the sink's transaction holds.
    What other ledgers know that may hold the same identities is read too, as long as it is in the window, and never written.
    """

    def __init__(self, name: LedgerName, limits: LedgerLimits) -> None:
        self.name = name
        self._limits = limits.divided(name.partitions)
        self._own = _Known(str(name))
        self._relatives: dict[str, _Known] = {}
        self._asked: tuple[Cursor[TupleRow], Cursor[TupleRow]] | None = None
        self._staged: tuple[Cursor[TupleRow], list[bytes]] | None = None
        self._sealed: tuple[int, bytes] | None = None

    @property
    def recent(self) -> int:
        """Identities held in memory, relatives' included."""
        return sum(len(known.recent) for known in self._all())

    def _all(self) -> list[_Known]:
        return [self._own, *self._relatives.values()]

    def ask(self, connection: Conn, counts: Collection[int] = ()) -> None:
        """Asks for the slices and the batches that other writers added since the last time, under the lock of the transaction.

        The answers may be taken by `catch_up` once it is known that the lock is held, and not where the fence has refused it.
        `counts` are all numbers of partitions that the kind has or had.
        """
        self._staged = None
        for relative in self.name.relatives(counts):
            self._relatives.setdefault(str(relative), _Known(str(relative)))
        everyone = self._all()
        listed = {
            "names": [known.name for known in everyone],
            "own": self._own.name,
            "hours": self._limits.window_hours,
        }
        slices = connection.execute(
            "select kind, slice, last_number from store.ledger_slice where kind = any(%(names)s::text[])"
            " and (kind = %(own)s or last_at > now() - make_interval(hours => %(hours)s)) order by slice",
            listed,
        )
        newer = connection.execute(
            "select l.kind, l.number, l.hashes from unnest(%(names)s::text[], %(seen)s::bigint[]) as w (kind, seen)"
            " join store.ledger l on l.kind = w.kind and l.number > w.seen"
            " where l.kind = %(own)s or l.accepted_at > now() - make_interval(hours => %(hours)s) order by l.number",
            listed | {"seen": [known.seen for known in everyone]},
            binary=True,
        )
        self._asked = slices, newer

    def catch_up(self, connection: Conn) -> None:
        """Reads what was asked for."""
        assert self._asked is not None
        slices, newer = self._asked
        self._asked = None
        everyone = {known.name: known for known in self._all()}
        found: dict[str, dict[int, int]] = defaultdict(dict)
        for name, number, last in slices.fetchall():
            found[name][number] = last
        for known in everyone.values():
            self._take_slices(connection, known, found[known.name])
        for name, number, joined in newer.fetchall():
            everyone[name].remember(number, [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)])

    def _take_slices(self, connection: Conn, known: _Known, slices: dict[int, int]) -> None:
        numbers = known.slices.numbers()
        if slices.keys() == numbers:
            return
        for gone in numbers - slices.keys():
            known.slices.remove(gone)
        for fresh in slices.keys() - numbers:
            if known is self._own and self._sealed is not None and self._sealed[0] == fresh:
                known.slices.add(*self._sealed)
                self._sealed = None
                continue
            row = connection.execute(
                "select filter from store.ledger_slice where kind = %s and slice = %s", (known.name, fresh)
            ).fetchone()
            assert row is not None
            known.slices.add(fresh, row[0])
        known.forget_sealed(max(slices.values(), default=0))

    def unknown(self, connection: Conn, some: Identities) -> list[bool]:
        """For each identity whether it is new: neither counted before nor earlier among them."""
        everyone = self._all()
        hashes, halves = some.hashes, some.halves
        positions: Sequence[int] = range(len(hashes))
        fresh = [True] * len(hashes)
        if len(some.different) < len(hashes) or not all(known.recent.isdisjoint(some.different) for known in everyone):
            here: set[bytes] = set()
            for position, item in enumerate(hashes):
                fresh[position] = item not in here and not any(item in known.recent for known in everyone)
                here.add(item)
            positions = [position for position, new in enumerate(fresh) if new]
            halves = halves[positions]
        for known in everyone:
            self._look_up(connection, known, hashes, positions, halves, fresh)
        return fresh

    def _look_up(
        self,
        connection: Conn,
        known: _Known,
        hashes: Sequence[bytes],
        positions: Sequence[int],
        halves: Halves,
        fresh: list[bool],
    ) -> None:
        """Takes away from `fresh` what a slice of one ledger has."""
        for number, hit in known.slices.possible(halves):
            position = positions[hit]
            if fresh[position] and _confirm(connection, known.name, number, hashes[position]):
                fresh[position] = False

    def add(self, connection: Conn, hashes: list[bytes]) -> None:
        """Writes new identities; memory takes them over with `commit`, once the transaction is through."""
        written = connection.execute(
            "insert into store.ledger (kind, hashes) values (%s, %b) returning number",
            (self._own.name, b"".join(hashes)),
        )
        self._staged = (written, hashes)

    def commit(self) -> None:
        """The transaction that called `add` was committed."""
        if self._staged is not None:
            written, hashes = self._staged
            row = written.fetchone()
            assert row is not None
            self._own.remember(row[0], hashes)
            self._staged = None

    def wants_sealing(self) -> bool:
        """Whether enough recent identities have gathered to seal a slice and keep some in memory.

        The partitions of a kind fill evenly. Each waits for another share of a slice, so that they do not all seal at once and hold
        up what comes meanwhile.
        """
        share = (self.name.partition + 1) / max(1, self.name.partitions)
        return len(self._own.recent) >= (1 + share) * self._limits.slice_ids

    def seal(self, connection: Conn) -> None:
        """Moves the older recent batches into a slice and drops slices out of the window. Inside the sink's lock."""
        rows: list[tuple[int, list[bytes]]] = []
        ids = 0
        for number, hashes in self._own.batches:
            if ids >= self._limits.slice_ids:
                break
            rows.append((number, hashes))
            ids += len(hashes)
        last = rows[-1][0]
        ordered = _sorted(b"".join(chain.from_iterable(hashes for _, hashes in rows)))
        self._sealed = last, filter_of(ordered, usual_bits(self._limits.slice_ids))
        connection.execute(
            "with gone as (delete from store.ledger where kind = %(kind)s and number <= %(last)s returning accepted_at)"
            " insert into store.ledger_slice (kind, slice, last_number, ids, first_at, last_at, filter)"
            " select %(kind)s, %(last)s, %(last)s, %(ids)s, min(accepted_at), max(accepted_at), %(filter)b from gone",
            {
                "kind": self._own.name,
                "last": last,
                "ids": ids,
                "filter": self._sealed[1],
            },
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into store.ledger_page (kind, slice, first, hashes) values (%s, %s, %b, %b)",
                [
                    (self._own.name, last, ordered[at : at + HASH_BYTES], ordered[at : at + _PAGE * HASH_BYTES])
                    for at in range(0, len(ordered), _PAGE * HASH_BYTES)
                ],
            )
        connection.execute(
            "delete from store.ledger_slice where kind = %(kind)s and (last_at < now() - make_interval(hours => %(hours)s)"
            " or slice not in (select slice from store.ledger_slice where kind = %(kind)s order by slice desc limit %(slices)s))",
            {"kind": self._own.name, "hours": self._limits.window_hours, "slices": self._limits.slices},
        )


def _sorted(hashes: bytes) -> bytes:
    """Joined hashes in order, as `bytes` compare. numpy sorts them in a quarter of the time that a list of them takes."""
    return np.sort(np.frombuffer(hashes, dtype=f"S{HASH_BYTES}")).tobytes()


def _confirm(connection: Conn, name: str, number: int, item: bytes) -> bool:
    """Looks an identity up in a sealed slice: a filter's yes is not believed."""
    row = connection.execute(
        "select hashes from store.ledger_page where kind = %s and slice = %s and first <= %s order by first desc limit 1",
        (name, number, item),
    ).fetchone()
    if row is None:
        return False
    page = row[0]
    hashes = [page[at : at + HASH_BYTES] for at in range(0, len(page), HASH_BYTES)]
    place = bisect.bisect_left(hashes, item)
    return place < len(hashes) and hashes[place] == item
