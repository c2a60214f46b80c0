"""What is read of the log: slices of partitions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Place = tuple[str, int]
"""A kind and one of its partitions."""


class Slice(NamedTuple):
    """Consecutive records of one partition. `next` is the offset behind them, `appended` when the last was appended, if known."""

    kind: str
    partition: int
    records: Sequence[Any]
    next: int
    appended: dt.datetime | None

    @property
    def place(self) -> Place:
        """The partition."""
        return self.kind, self.partition


class OutOfRange(Exception):
    """The log does not have the offsets that were asked for."""

    def __init__(self, places: Mapping[Place, int]) -> None:
        super().__init__(", ".join(f"{kind}/{partition} at {offset}" for (kind, partition), offset in places.items()))
        self.places = dict(places)
