"""A key set follows its issuer: keys rotate, servers are slow, away or hostile, and a flood of unknown keys is a few fetches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from api.auth.jwks import AFTER_FAILURE_S, AGAIN_S, FRESH_S, STALE_S, KeySet, KeysUnavailable, require_https
from tests.integration.key_server import How, KeyServer, ec_key, key_server, published, rsa_key, segment


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    seconds: float = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def one() -> dict[str, Any]:
    return published("one", rsa_key("one"))


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with key_server(one()) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


def key_set(server: KeyServer, clock: Clock, *algorithms: str) -> KeySet:
    return KeySet(server.url, algorithms or ("RS256",), time_limit_s=0.5, clock=clock)


async def test_keys_are_fetched_when_needed_once_and_kept(server: KeyServer, clock: Clock) -> None:
    keys = key_set(server, clock)
    assert server.asked == 0
    found = await asyncio.gather(*(keys.find("one") for _ in range(50)))
    assert {key.algorithm for key in found if key} == {"RS256"}
    assert None not in found
    clock.seconds += FRESH_S - 1
    assert await keys.find("one") is found[0]
    assert server.asked == 1
    clock.seconds += 1
    assert await keys.find("one") is not None
    assert server.asked == 2


async def test_a_new_key_is_found_and_a_withdrawn_one_is_gone(server: KeyServer, clock: Clock) -> None:
    keys = key_set(server, clock)
    assert await keys.find("one") is not None
    server.keys.append(published("two", rsa_key("two")))
    clock.seconds += AGAIN_S
    assert await keys.find("two") is not None
    assert await keys.find("one") is not None
    assert server.asked == 2
    del server.keys[0]
    clock.seconds += FRESH_S
    assert await keys.find("one") is None
    assert await keys.find("two") is not None


async def test_a_flood_of_unknown_keys_is_a_few_fetches(server: KeyServer, clock: Clock) -> None:
    keys = key_set(server, clock)
    for turn in range(4):
        names = [f"{turn} {number}" for number in range(500)]
        assert set(await asyncio.gather(*(keys.find(name) for name in names))) == {None}
        clock.seconds += AGAIN_S / 2
    # Four floods in a minute: at the start, and once half a minute is over.
    assert server.asked == 2
    assert await keys.find("one") is not None


@pytest.mark.parametrize("how", ["slow", "huge", "redirecting", "failing", "garbage", "down", "empty"])
async def test_while_keys_cannot_be_had_nobody_is_told_that_a_token_is_bad(
    server: KeyServer, clock: Clock, how: How | str
) -> None:
    keys = key_set(server, clock)
    await break_(server, how)
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            await keys.find("one")
    assert server.asked == (0 if how == "down" else 1)
    assert server.strayed == []
    await mend(server)
    clock.seconds += AFTER_FAILURE_S
    assert await keys.find("one") is not None


@pytest.mark.parametrize("how", ["slow", "huge", "redirecting", "failing", "garbage", "down", "empty"])
async def test_keys_that_are_there_last_a_day_while_fetching_fails(
    server: KeyServer, clock: Clock, how: How | str
) -> None:
    keys = key_set(server, clock)
    assert await keys.find("one") is not None
    await break_(server, how)
    clock.seconds += FRESH_S
    assert await keys.find("one") is not None
    with pytest.raises(KeysUnavailable):
        await keys.find("another")
    clock.seconds += STALE_S - FRESH_S - 1
    assert await keys.find("one") is not None
    clock.seconds += 1
    with pytest.raises(KeysUnavailable):
        await keys.find("one")
    await mend(server)
    clock.seconds += AFTER_FAILURE_S
    assert await keys.find("one") is not None
    assert server.strayed == []


async def test_who_can_be_answered_does_not_wait_for_a_server_that_failed(server: KeyServer, clock: Clock) -> None:
    keys = KeySet(server.url, ("RS256",), time_limit_s=30, clock=clock)
    assert await keys.find("one") is not None
    server.how = "failing"
    clock.seconds += FRESH_S
    assert await keys.find("one") is not None
    server.how = "slow"
    clock.seconds += AFTER_FAILURE_S
    async with asyncio.timeout(10):
        assert await keys.find("one") is not None
        while server.asked < 3:  # noqa: ASYNC110  (the fetch goes on behind)
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(keys.find("another"))
        assert await keys.find("one") is not None
        server.open.set()
        assert await waiting is None


async def test_one_who_goes_away_does_not_take_the_fetch_from_the_others(server: KeyServer, clock: Clock) -> None:
    server.how = "slow"
    keys = KeySet(server.url, ("RS256",), time_limit_s=30, clock=clock)
    first, second = asyncio.create_task(keys.find("one")), asyncio.create_task(keys.find("one"))
    async with asyncio.timeout(10):
        while not server.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        first.cancel()
        server.open.set()
        assert await second is not None
    assert server.asked == 1


BAD_KEYS: dict[str, Callable[[], dict[str, Any]]] = {
    "too short": lambda: published("bad", rsa_key("weak", 1024)),
    "for encryption": lambda: published("bad", rsa_key("one"), use="enc"),
    "for another algorithm": lambda: published("bad", rsa_key("one"), alg="RS512"),
    "for another family": lambda: published("bad", rsa_key("one"), alg="HS256"),
    "for other operations": lambda: published("bad", rsa_key("one"), key_ops=["encrypt"]),
    "operations that are no list": lambda: published("bad", rsa_key("one"), key_ops="verify"),
    "private": lambda: published("bad", rsa_key("one"), d="AQAB"),
    "tiny": lambda: published("bad", rsa_key("one"), n="AQAB"),
    "without a modulus": lambda: published("bad", rsa_key("one"), n=None),
    "no number": lambda: published("bad", rsa_key("one"), e="*"),
    "an even exponent": lambda: published("bad", rsa_key("one"), e="Ag"),
    "a list of kinds": lambda: published("bad", rsa_key("one"), kty=["RSA"]),
    "another kind of key": lambda: published("bad", ec_key("one")),
    "a secret": lambda: {"kty": "oct", "kid": "bad", "alg": "HS256", "k": segment(b"s" * 32)},
    "nothing": lambda: {"kid": "bad"},
    "a long name": lambda: published("x" * 257, rsa_key("one")),
    "an empty name": lambda: published("", rsa_key("one")),
    "a number for a name": lambda: {**published("7", rsa_key("one")), "kid": 7},
}


@pytest.mark.parametrize("bad", BAD_KEYS)
async def test_keys_of_another_kind_or_strength_are_left_out(server: KeyServer, clock: Clock, bad: str) -> None:
    key = BAD_KEYS[bad]()
    server.keys[:] = [key, "no key", None, one()]  # type: ignore[list-item]
    keys = key_set(server, clock)
    assert await keys.find(str(key["kid"])) is None
    assert await keys.find("one") is not None
    assert server.asked == 1


@pytest.mark.parametrize("changed", [{"crv": "P-384"}, {"crv": "secp256k1"}, {"x": "AQAB"}, {"alg": "ES384"}], ids=str)
async def test_so_are_other_curves(server: KeyServer, clock: Clock, changed: dict[str, Any]) -> None:
    server.keys.append(published("bad", ec_key("one"), **changed))
    keys = key_set(server, clock, "RS256", "ES256")
    assert await keys.find("bad") is None
    assert await keys.find("one") is not None


async def test_each_key_has_one_algorithm(server: KeyServer, clock: Clock) -> None:
    server.keys.append(published("two", ec_key("two"), alg=None, use=None))
    keys = key_set(server, clock, "RS256", "ES256")
    found = [await keys.find(kid) for kid in ("one", "two")]
    assert [key.algorithm for key in found if key] == ["RS256", "ES256"]


@pytest.mark.parametrize(
    "url",
    [
        "http://keys.example.com/jwks.json",
        "http://127.0.0.1.example.com/jwks.json",
        "http://10.0.0.1/jwks.json",
        "https://user:secret@keys.example.com/",
        "http://127.0.0.1@example.com/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "https://",
        "https://[::1",
        "https://keys.example.com:x/",
        "https://kéys.example.com/",
        "keys.example.com",
        "",
    ],
)
def test_only_https_and_this_machine_itself(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        require_https(url)


def test_addresses_that_are_good() -> None:
    for url in ("https://a.example.com/x", "https://a.example.com:8443/x", "http://localhost:1/x", "http://[::1]:1/x"):
        require_https(url)


async def break_(server: KeyServer, how: str) -> None:
    if how == "down":
        await server.stop()
    elif how == "empty":
        server.keys.clear()
    else:
        server.how = how  # type: ignore[assignment]


async def mend(server: KeyServer) -> None:
    await server.stop()
    server.how = "well"
    server.keys[:] = [one()]
    await server.start()
