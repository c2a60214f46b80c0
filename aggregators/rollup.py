"""What a rollup is: one declaration from which its table, aggregation, upsert, queries and catalogue entry follow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

Grain = Literal["1m", "15m", "1h", "1d"]
Merge = Literal["add", "min", "max", "last", "bins", "registers"]
PgType = Literal["bigint", "double precision", "numeric", "bytea"]

GRAINS: dict[str, dt.timedelta] = {
    "1m": dt.timedelta(minutes=1),
    "15m": dt.timedelta(minutes=15),
    "1h": dt.timedelta(hours=1),
    "1d": dt.timedelta(days=1),
}
"""The widths of stored buckets, which start at UTC's midnight; finest first."""


@dataclass(frozen=True)
class Measure:
    """A stored figure that merges: two parts of the events give the same as the whole, in any order.

    `value`: a polars expression over the rollup's prepared rows. For add, min and max it aggregates; for last, bins and
    registers it names the value of one row (nulls do not count).
    `merge`: `last` keeps the value of the greatest (time, source, id); `bins` keeps a log-scale histogram and `registers` a
    HyperLogLog sketch, both as packed pairs (aggregators.sketches), stored as bytes (aggregators.sketch_bytes).
    `grains`: where it is kept; None for every grain of the rollup.
    `weight`: of bins, how many equal values a row stands for, at most 2**20; one where it is None.
    """

    name: str
    value: pl.Expr
    pg_type: PgType
    doc: str
    merge: Merge = "add"
    unit: str | None = None
    grains: tuple[Grain, ...] | None = None
    public: bool = True
    weight: pl.Expr | None = None

    @property
    def meaning(self) -> str:
        """The expressions that it is computed from, as text that changes when they do."""
        return str(self.value) if self.weight is None else f"{self.value} weighted by {self.weight}"


@dataclass(frozen=True)
class Derived:
    """A figure computed when read, by SQL over the names of stored measures."""

    name: str
    sql: str
    needs: tuple[str, ...]
    doc: str
    unit: str | None = None


@dataclass(frozen=True)
class Sketched:
    """A figure computed when read from a sketch: `quantile` of bins (0 < q < 1), or the distinct count of registers (q None)."""

    name: str
    measure: str
    doc: str
    q: float | None = None
    unit: str | None = None


@dataclass(frozen=True, eq=False)
class Rollup:
    """Events of one kind, summed by bucket of time and keys. Each declaration is a thing of its own, equal to itself alone.

    `prepare` turns the raw frame of the kind (aggregators.frames) into rows with `organization`, `time`, `source`, `id`, the keys
    and what the measures name. `concerns` tells cheaply which raw events it may want: those that it passes over cost next to nothing.
    `lookup` lists the keys that a second index leads with. `units` names the key whose value decides
    a measure's unit, where it does.
    """

    name: str
    event: str
    grains: tuple[Grain, ...]
    keys: tuple[str, ...]
    measures: tuple[Measure, ...]
    doc: str
    prepare: Callable[[pl.DataFrame], pl.DataFrame]
    derived: tuple[Derived, ...] = ()
    sketched: tuple[Sketched, ...] = ()
    lookup: tuple[str, ...] = ()
    optional_keys: frozenset[str] = field(default_factory=frozenset)
    concerns: pl.Expr | None = None

    def __post_init__(self) -> None:
        names = [m.name for m in self.measures] + [d.name for d in self.derived] + [s.name for s in self.sketched]
        taken = [name for name in names if names.count(name) > 1 or name in self.keys]
        if taken:
            raise ValueError(f"{self.name}: the name {taken[0]} stands twice")
        if list(self.grains) != [grain for grain in GRAINS if grain in self.grains]:
            raise ValueError(f"{self.name}: grains must stand finest first")
        stored = {measure.name for measure in self.measures}
        for derived in self.derived:
            if set(derived.needs) - stored:
                raise ValueError(f"{self.name}.{derived.name}: needs a measure that is not stored")
        for sketched in self.sketched:
            if sketched.measure not in stored:
                raise ValueError(f"{self.name}.{sketched.name}: reads a measure that is not stored")

    def measures_at(self, grain: str) -> tuple[Measure, ...]:
        """The measures kept at one grain."""
        return tuple(m for m in self.measures if m.grains is None or grain in m.grains)

    def measure(self, name: str) -> Measure:
        """The stored measure of that name. Raises KeyError."""
        for measure in self.measures:
            if measure.name == name:
                return measure
        raise KeyError(name)

    def has_last(self) -> bool:
        """Whether a measure keeps the last value, and so the table the place of it."""
        return any(measure.merge == "last" for measure in self.measures)

    def public_names(self) -> list[str]:
        """Every figure a query may ask for, in the order of the declaration."""
        stored = [m.name for m in self.measures if m.public]
        return stored + [d.name for d in self.derived] + [s.name for s in self.sketched]


LAST_PLACE = ("last_time", "last_source", "last_id")
"""The columns that say where a rollup's last values come from."""
