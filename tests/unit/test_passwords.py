"""Passwords: right, wrong, unknown, and too many at once."""

from __future__ import annotations

import asyncio

import pytest
from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError

from api.auth.passwords import Passwords
from api.errors import Problem


async def test_the_right_password_is_known_and_another_is_not() -> None:
    passwords = Passwords()
    encoded = await passwords.hash("tr0ub4dor & 3 – ünïcode")
    assert encoded.startswith("$argon2id$")
    assert "tr0ub4dor" not in encoded
    assert await passwords.verify("tr0ub4dor & 3 – ünïcode", encoded)
    assert not await passwords.verify("tr0ub4dor & 4", encoded)


async def test_an_unknown_user_costs_as_much_as_a_known_one() -> None:
    passwords = Passwords()
    assert not await passwords.verify("anything", None)
    # Equal parameters do equal work: no clock has to be trusted to see it.
    assert extract_parameters(passwords._nobody) == extract_parameters(await passwords.hash("anything"))


async def test_a_flood_is_turned_away_and_the_others_are_served() -> None:
    passwords = Passwords(at_once=1, waiting=1)
    results = await asyncio.gather(*(passwords.verify("x", None) for _ in range(5)), return_exceptions=True)
    turned_away = [result for result in results if isinstance(result, Problem)]
    assert [result for result in results if not isinstance(result, Problem)] == [False, False]
    assert {(problem.status, "Retry-After" in problem.headers) for problem in turned_away} == {(503, True)}
    assert not await passwords.verify("x", None)


async def test_a_broken_hash_is_an_error_and_not_a_wrong_password() -> None:
    with pytest.raises(InvalidHashError):
        await Passwords().verify("x", "not a hash")
