"""The text of API keys, and the count of failed attempts to sign in."""

from __future__ import annotations

import re

from api.auth.attempts import Attempts
from api.auth.keys import looks_like_key, mint
from storage.identity import digest


def test_a_key_has_its_prefix_and_a_long_secret() -> None:
    key = mint()
    match = re.fullmatch(r"sg_(.{8})_(.{43})", key.text)
    assert match is not None
    assert match[1] == key.prefix
    assert key.digest == digest(key.text)
    assert looks_like_key(key.text)
    assert key.text not in repr(key)
    assert len({mint().text for _ in range(100)}) == 100


def test_the_sixth_attempt_within_a_minute_waits() -> None:
    now = 0.0
    attempts = Attempts(clock=lambda: now)
    for _ in range(5):
        assert attempts.begin(("10.0.0.1", "a@example.com")) == 0
        now += 1
    assert attempts.begin(("10.0.0.1", "a@example.com")) == 55
    assert attempts.begin(("10.0.0.2", "a@example.com")) == 0
    assert attempts.begin(("10.0.0.1", "b@example.com")) == 0
    now = 60.0
    assert attempts.begin(("10.0.0.1", "a@example.com")) == 0
    assert attempts.begin(("10.0.0.1", "a@example.com")) == 1


def test_success_forgets_the_failures() -> None:
    attempts = Attempts(clock=lambda: 0.0)
    for _ in range(20):
        assert attempts.begin(("10.0.0.1", "a@example.com")) == 0
        attempts.succeed(("10.0.0.1", "a@example.com"))


def test_the_count_is_bounded() -> None:
    attempts = Attempts(most=10, clock=lambda: 0.0)
    for number in range(100):
        attempts.begin(("10.0.0.1", str(number)))
    assert len(attempts._begun) == 10
