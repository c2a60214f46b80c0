"""The names of a collector's lives."""

from __future__ import annotations

import datetime as dt
from random import Random

from ingest.collectors.incarnation import incarnation

NOW = dt.datetime(2026, 1, 5, 10, tzinfo=dt.UTC)


def test_a_later_life_sorts_behind_and_two_at_once_differ() -> None:
    random = Random(3)
    names = [incarnation(NOW + dt.timedelta(milliseconds=at), random) for at in range(50)]
    assert names == sorted(names)
    assert {len(name) for name in names} == {26}
    assert incarnation(NOW, random) != incarnation(NOW, random)


def test_it_is_a_ulid() -> None:
    # The example of the reference implementation (github.com/ulid/javascript): ulid(1469918176385).
    moment = dt.datetime.fromtimestamp(1_469_918_176.385, dt.UTC)
    assert incarnation(moment, Random(1)).startswith("01ARYZ6S41")
