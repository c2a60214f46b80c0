"""Waiting before trying again."""

from __future__ import annotations

from random import Random

import pytest

from ingest.collectors.backoff import Backoff, retry_after


def test_waits_double_up_to_the_cap_and_are_never_shorter_than_half() -> None:
    backoff = Backoff(first=1.0, cap=8.0)
    random = Random(1)
    for attempt, full in enumerate((1.0, 2.0, 4.0, 8.0, 8.0)):
        waits = [backoff.delay(attempt, random) for _ in range(200)]
        assert full / 2 <= min(waits) < max(waits) <= full
        assert max(waits) - min(waits) > full / 4, "collectors would come back in step"
    assert backoff.delay(10_000, random) <= 8.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "-7"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "99999999"}, 3_600.0),
        ({"Retry-After": "Mon, 05 Jan 2026 10:00:30 GMT", "Date": "Mon, 05 Jan 2026 10:00:00 GMT"}, 30.0),
        ({"Retry-After": "Mon, 05 Jan 2026 09:00:00 GMT", "Date": "Mon, 05 Jan 2026 10:00:00 GMT"}, 0.0),
        ({"Retry-After": "Mon, 05 Jan 2026 10:00:30 GMT"}, 0.0),
        ({"Retry-After": f"Mon, 05 Jan {'9' * 30} 10:00:30 GMT"}, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds
