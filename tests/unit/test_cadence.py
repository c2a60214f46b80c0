"""The steady beat of the collectors, on a clock of the test's own."""

from __future__ import annotations

import pytest

from ingest.collectors.cadence import beats


class Clock:
    """Time that passes only by sleeping and by working."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_beats_do_not_drift_and_a_missed_one_is_skipped() -> None:
    clock = Clock()
    work = iter([0.3, 0.9, 2.5, 0.1, 1.0, 0.0])
    seen = []
    async for missed in beats(1.0, monotonic=clock.monotonic, sleep=clock.sleep):
        seen.append((pytest.approx(clock.now), missed))
        busy = next(work)
        clock.now += busy
        if not busy:
            break
    assert seen == [(101.0, 0), (102.0, 0), (103.0, 0), (106.0, 2), (107.0, 0), (108.0, 0)]
