"""The rate of a drain: neither how it starts nor how it ends is in it, and where nothing is left between, none is told."""

from __future__ import annotations

import pytest

from bench.scaled import Moment, steady_rate


def drained(*, joined: int = 0) -> list[Moment]:
    """A drain of 1,000 events behind 500: slow at first, 100 a second, at once at the end; a second worker from so many on."""
    steps = [(30.0, 100), (31.0, 200), *((31.0 + n, 200 + 100 * n) for n in range(1, 8)), (38.001, 1_000)]
    return [Moment(at, 500 + counted, 2 if counted >= joined else 1) for at, counted in steps]


@pytest.mark.parametrize("joined", [0, 500, 800])
def test_a_rate_is_that_of_the_middle(joined: int) -> None:
    assert steady_rate(drained(joined=joined), 500, 1_000, workers=2) == pytest.approx(100.0)


@pytest.mark.parametrize("joined", [900, 1_001])
def test_without_a_middle_none_is_told(joined: int) -> None:
    with pytest.raises(RuntimeError, match="too few groups"):
        steady_rate(drained(joined=joined), 500, 1_000, workers=2)
    with pytest.raises(RuntimeError, match="too few groups"):
        steady_rate(drained()[-1:], 500, 1_000, workers=2)
