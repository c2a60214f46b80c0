"""The ledger: which identities were counted already. Recent ones in memory, older ones behind Bloom filters, all in the database."""

from __future__ import annotations

import bisect
import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import TupleRow

from ingest.events import Event
from storage.bloom import Bloom, split
from storage.database import Conn

HASH_BYTES = 16
_PAGE = 4096


def identity(organization: UUID, kind: str, source: str, event_id: str) -> bytes:
    """The 16-byte hash of an event's identity. No part can hold a NUL, so no two identities read the same."""
    text = f"{kind}\0{source}\0{event_id}"
    return hashlib.blake2b(organization.bytes + text.encode(), digest_size=HASH_BYTES).digest()


def identities(organization: UUID, kind: str, events: Iterable[Event]) -> list[bytes]:
    """`identity` of many events of one organization and kind."""
    start = organization.bytes + kind.encode() + b"\0"
    hashed = hashlib.blake2b
    return [hashed(start + f"{event.source}\0{event.id}".encode(), digest_size=HASH_BYTES).digest() for event in events]


@dataclass(frozen=True)
class LedgerLimits:
    """How long an identity is known: for `window_hours` or as long as `slices` x `slice_ids` newer ones fit, whichever is less."""

    window_hours: int = 48
    slice_ids: int = 250_000
    slices: int = 64


class Ledger:
    """The known identities of one kind of event, as one writer sees them.

    Several writers may hold one each: `catch_up` reads what others added, under the lock that the sink's transaction holds.
    """

    def __init__(self, kind: str, limits: LedgerLimits) -> None:
        self.kind = kind
        self._limits = limits
        self._recent: set[bytes] = set()
        self._batches: deque[tuple[int, list[bytes]]] = deque()
        self._seen = 0
        self._slices: dict[int, Bloom] = {}
        self._staged: tuple[Cursor[TupleRow], list[bytes]] | None = None

    @property
    def recent(self) -> int:
        """Identities held in memory."""
        return len(self._recent)

    def catch_up(self, connection: Conn) -> None:
        """Reads the slices and the batches that other writers added since the last time."""
        self._staged = None
        known_slices = connection.execute(
            "select slice, last_number from store.ledger_slice where kind = %s order by slice", (self.kind,)
        )
        newer = connection.execute(
            "select number, hashes from store.ledger where kind = %s and number > %s order by number",
            (self.kind, self._seen),
            binary=True,
        )
        slices = known_slices.fetchall()
        sealed = {number for number, _ in slices}
        if sealed != self._slices.keys():
            for gone in self._slices.keys() - sealed:
                del self._slices[gone]
            for fresh in sealed - self._slices.keys():
                row = connection.execute(
                    "select filter from store.ledger_slice where kind = %s and slice = %s", (self.kind, fresh)
                ).fetchone()
                assert row is not None
                self._slices[fresh] = Bloom(row[0])
            last = max((number for _, number in slices), default=0)
            while self._batches and self._batches[0][0] <= last:
                self._recent.difference_update(self._batches.popleft()[1])
        for number, joined in newer.fetchall():
            self._remember(number, [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)])

    def _remember(self, number: int, hashes: list[bytes]) -> None:
        self._batches.append((number, hashes))
        self._recent.update(hashes)
        self._seen = number

    def unknown(self, connection: Conn, hashes: Sequence[bytes]) -> list[bool]:
        """For each identity whether it is new: neither counted before nor earlier in this list."""
        here = set(hashes)
        if len(here) == len(hashes) and self._recent.isdisjoint(here):
            fresh = [True] * len(hashes)
        else:
            fresh = []
            here.clear()
            for item in hashes:
                new = item not in self._recent and item not in here
                fresh.append(new)
                if new:
                    here.add(item)
        if self._slices:
            positions = [position for position, new in enumerate(fresh) if new]
            halves = split(b"".join(hashes[position] for position in positions))
            for number, bloom in self._slices.items():
                for hit in bloom.possible(halves):
                    position = positions[int(hit)]
                    if fresh[position] and self._confirm(connection, number, hashes[position]):
                        fresh[position] = False
        return fresh

    def _confirm(self, connection: Conn, number: int, item: bytes) -> bool:
        """Looks an identity up in a sealed slice: a filter's yes is not believed."""
        row = connection.execute(
            "select hashes from store.ledger_page where kind = %s and slice = %s and first <= %s order by first desc limit 1",
            (self.kind, number, item),
        ).fetchone()
        if row is None:
            return False
        page = row[0]
        hashes = [page[at : at + HASH_BYTES] for at in range(0, len(page), HASH_BYTES)]
        place = bisect.bisect_left(hashes, item)
        return place < len(hashes) and hashes[place] == item

    def add(self, connection: Conn, hashes: list[bytes]) -> None:
        """Writes new identities; memory takes them over with `commit`, once the transaction is through."""
        written = connection.execute(
            "insert into store.ledger (kind, hashes) values (%s, %b) returning number", (self.kind, b"".join(hashes))
        )
        self._staged = (written, hashes)

    def commit(self) -> None:
        """The transaction that called `add` was committed."""
        if self._staged is not None:
            written, hashes = self._staged
            row = written.fetchone()
            assert row is not None
            self._remember(row[0], hashes)
            self._staged = None

    def wants_sealing(self) -> bool:
        """Whether enough recent identities have gathered to seal a slice and keep as many in memory."""
        return len(self._recent) >= 2 * self._limits.slice_ids

    def seal(self, connection: Conn) -> None:
        """Moves the older recent batches into a slice and drops slices out of the window. Inside the sink's lock."""
        rows: list[tuple[int, list[bytes]]] = []
        ids = 0
        for number, hashes in self._batches:
            if ids >= self._limits.slice_ids:
                break
            rows.append((number, hashes))
            ids += len(hashes)
        last = rows[-1][0]
        ordered = sorted(item for _, hashes in rows for item in hashes)
        joined = b"".join(ordered)
        connection.execute(
            "with gone as (delete from store.ledger where kind = %(kind)s and number <= %(last)s returning accepted_at)"
            " insert into store.ledger_slice (kind, slice, last_number, ids, first_at, last_at, filter)"
            " select %(kind)s, %(last)s, %(last)s, %(ids)s, min(accepted_at), max(accepted_at), %(filter)b from gone",
            {"kind": self.kind, "last": last, "ids": ids, "filter": Bloom.of(joined).tobytes()},
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into store.ledger_page (kind, slice, first, hashes) values (%s, %s, %b, %b)",
                [
                    (self.kind, last, ordered[at], b"".join(ordered[at : at + _PAGE]))
                    for at in range(0, len(ordered), _PAGE)
                ],
            )
        connection.execute(
            "delete from store.ledger_slice where kind = %(kind)s and (last_at < now() - make_interval(hours => %(hours)s)"
            " or slice not in (select slice from store.ledger_slice where kind = %(kind)s order by slice desc limit %(slices)s))",
            {"kind": self.kind, "hours": self._limits.window_hours, "slices": self._limits.slices},
        )
