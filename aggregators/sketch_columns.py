"""Many sketches at once, as arrays: hundreds of them cost what one costs in a loop."""

from __future__ import annotations

from dataclasses import dataclass
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
    """The packed pairs (aggregators.sketches) of the rows of a frame; `owners` has the row's number of each pair, from 0.

    `merge` is bins (values of equal indexes are added) or registers (the greatest stays).
    """

    owners: Integers
    pairs: Integers
    merge: str

    @classmethod
    def of(cls, pairs: pl.Series, merge: str) -> Sketches:
        """One pair a row, or none where it is null."""
        there = pairs.is_not_null().to_numpy()
        return cls(np.flatnonzero(there), pairs.drop_nulls().to_numpy(), merge)

    @classmethod
    def of_lists(cls, lists: pl.Series, merge: str) -> Sketches:
        """The pairs of a column of lists."""
        lengths = lists.list.len().fill_null(0).to_numpy()
        pairs = lists.drop_nulls().explode(empty_as_null=False).to_numpy()
        return cls(np.repeat(np.arange(len(lists)), lengths), pairs.astype(np.int64), merge)

    def moved(self, owners: Integers) -> Sketches:
        """The same pairs in the rows of another frame; `owners` has the new row of each old one."""
        return Sketches(owners[self.owners], self.pairs, self.merge)

    def plus(self, owners: Integers, pairs: Integers) -> Sketches:
        """These and more pairs."""
        return Sketches(np.concatenate([self.owners, owners]), np.concatenate([self.pairs, pairs]), self.merge)

    def merged(self) -> Sketches:
        """One pair for each row and index, sorted by them."""
        if not len(self.pairs):
            return self
        cells = (self.owners << _INDEX_BITS) + (self.pairs >> SHIFT) + _INDEX_HALF
        if (cells[1:] > cells[:-1]).all():
            # One sketch a row, as it was stored: nothing is to be merged.
            return self
        # What is merged comes as a few sorted runs, which a stable sort finds and merges.
        order = np.argsort(cells, kind="stable")
        cells, values = cells[order], self.pairs[order] & _MASK
        starts = np.flatnonzero(np.diff(cells, prepend=cells[0] - 1))
        values = (np.add if self.merge == "bins" else np.maximum).reduceat(values, starts)
        cells = cells[starts]
        indexes = (cells & ((1 << _INDEX_BITS) - 1)) - _INDEX_HALF
        return Sketches(cells >> _INDEX_BITS, (indexes << SHIFT) + values, self.merge)

    def ends(self, height: int) -> Integers:
        """Where the pairs of each of `height` rows end; only of merged ones."""
        return np.searchsorted(self.owners, np.arange(height), side="right").astype(np.int64)

    def column(self, height: int) -> pl.Series:
        """A list of pairs for each of `height` rows, null where there are none; only of merged ones."""
        lists = (
            pl.DataFrame({"owner": self.owners, "pairs": self.pairs})
            .group_by("owner", maintain_order=True)
            .agg("pairs")
        )
        rows = pl.DataFrame({"owner": np.arange(height)})
        return rows.join(lists, on="owner", how="left", maintain_order="left")["pairs"]

    def quantiles(self, height: int, q: float) -> list[float | None]:
        """`sketches.quantile` of each of `height` rows; only of merged bins."""
        reached = np.cumsum(self.pairs & _MASK)
        ends = self.ends(height)
        before = np.concatenate([np.zeros(1, dtype=np.int64), reached])[np.concatenate([[0], ends[:-1]])]
        totals = np.concatenate([np.zeros(1, dtype=np.int64), reached])[ends] - before
        ranks = np.maximum(1, np.ceil(q * totals - 1e-9).astype(np.int64))
        places = np.searchsorted(reached, before + ranks)
        return [
            bin_value(int(self.pairs[place] >> SHIFT)) if total else None
            for place, total in zip(places.tolist(), totals.tolist(), strict=True)
        ]

    def distincts(self, height: int) -> list[int]:
        """`sketches.distinct` of each of `height` rows; only of merged registers."""
        ends = self.ends(height).tolist()
        return [distinct(self.pairs[start:end].tolist()) for start, end in pairwise([0, *ends])]
