"""Many sketches at once, as arrays: hundreds of them cost what one costs in a loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from aggregators.sketches import SHIFT, bin_value, distinct

Integers = NDArray[np.int64]

_MASK = (1 << SHIFT) - 1
_INDEX_BITS = 22
"""An index lies between -2**21 and 2**21: those of bins within 90,000, those of registers below 4,096."""
_INDEX_HALF = 1 << (_INDEX_BITS - 1)


@dataclass(frozen=True)
class Sketches:
    """The pairs of the sketches (aggregators.sketches) of the rows of a frame; `owners` has the row's number of each pair, from 0.

    `merge` is bins (values of equal indexes are added) or registers (the greatest stays). `whole`: there is one pair for each row and
    index, and they are sorted by them.
    """

    owners: Integers
    indexes: Integers
    values: Integers
    merge: str
    whole: bool = False

    @classmethod
    def of(cls, pairs: pl.Series, merge: str) -> Sketches:
        """One packed pair a row, or none where it is null."""
        there = pairs.is_not_null().to_numpy()
        return cls._unpacked(np.flatnonzero(there), pairs.drop_nulls().to_numpy(), merge)

    @classmethod
    def of_lists(cls, lists: pl.Series, merge: str) -> Sketches:
        """The packed pairs of a column of lists."""
        lengths = lists.list.len().fill_null(0).to_numpy()
        pairs = lists.drop_nulls().explode(empty_as_null=False).to_numpy()
        return cls._unpacked(np.repeat(np.arange(len(lists)), lengths), pairs.astype(np.int64), merge)

    @classmethod
    def _unpacked(cls, owners: Integers, pairs: Integers, merge: str) -> Sketches:
        return cls(owners, pairs >> SHIFT, pairs & _MASK, merge)

    def moved(self, owners: Integers) -> Sketches:
        """The same pairs in the rows of another frame; `owners` has the new row of each old one."""
        return Sketches(owners[self.owners], self.indexes, self.values, self.merge)

    def plus(self, other: Sketches) -> Sketches:
        """These pairs and those of other sketches of the same rows."""
        return Sketches(
            np.concatenate([self.owners, other.owners]),
            np.concatenate([self.indexes, other.indexes]),
            np.concatenate([self.values, other.values]),
            self.merge,
        )

    def merged(self) -> Sketches:
        """One pair for each row and index, sorted by them."""
        if self.whole or not len(self.owners):
            return self
        cells = (self.owners << _INDEX_BITS) + self.indexes
        cells += _INDEX_HALF
        if (cells[1:] > cells[:-1]).all():
            return replace(self, whole=True)
        # What is merged comes as a few sorted runs, which a stable sort finds and merges.
        order = np.argsort(cells, kind="stable")
        cells, values = cells[order], self.values[order]
        starts = np.flatnonzero(np.diff(cells, prepend=cells[0] - 1))
        values = (np.add if self.merge == "bins" else np.maximum).reduceat(values, starts)
        cells = cells[starts]
        indexes = (cells & ((1 << _INDEX_BITS) - 1)) - _INDEX_HALF
        return Sketches(cells >> _INDEX_BITS, indexes, values, self.merge, whole=True)

    def ends(self, height: int) -> Integers:
        """Where the pairs of each of `height` rows end; only of whole sketches."""
        return np.searchsorted(self.owners, np.arange(height), side="right").astype(np.int64)

    def column(self, height: int) -> pl.Series:
        """A list of packed pairs for each of `height` rows, null where there are none; only of whole sketches."""
        lists = (
            pl.DataFrame({"owner": self.owners, "pairs": (self.indexes << SHIFT) + self.values})
            .group_by("owner", maintain_order=True)
            .agg("pairs")
        )
        rows = pl.DataFrame({"owner": np.arange(height)})
        return rows.join(lists, on="owner", how="left", maintain_order="left")["pairs"]

    def quantiles(self, height: int, q: float) -> list[float | None]:
        """`sketches.quantile` of each of `height` rows; only of whole bins."""
        if not len(self.values):
            return [None] * height
        reached = np.cumsum(self.values)
        ends = self.ends(height)
        before = np.concatenate([np.zeros(1, dtype=np.int64), reached])[np.concatenate([[0], ends[:-1]])]
        totals = np.concatenate([np.zeros(1, dtype=np.int64), reached])[ends] - before
        ranks = np.maximum(1, np.ceil(q * totals - 1e-9).astype(np.int64))
        # A row without a sketch has no place of its own, and behind the last pair there is none.
        places = np.minimum(np.searchsorted(reached, before + ranks), len(reached) - 1)
        indexes = self.indexes[places]
        return [
            bin_value(index) if total else None for index, total in zip(indexes.tolist(), totals.tolist(), strict=True)
        ]

    def distincts(self, height: int) -> list[int]:
        """`sketches.distinct` of each of `height` rows; only of whole registers."""
        ends = self.ends(height).tolist()
        return [distinct(self.values[start:end].tolist()) for start, end in pairwise([0, *ends])]
