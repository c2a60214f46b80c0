"""The cache of look-ups: fresh, shared, bounded, and honest about failures."""

from __future__ import annotations

import asyncio

import pytest

from api.auth.fresh import Fresh
from storage.database import StorageUnavailable


class Register:
    """What is looked up, how often it was, and a clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.values: dict[str, str] = {}
        self.looked_up: list[str] = []
        self.broken = False
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Semaphore(0)

    async def look_up(self, key: str) -> str | None:
        self.looked_up.append(key)
        found = self.values.get(key)
        self.asked.release()
        await self.open.wait()
        if self.broken:
            raise StorageUnavailable("gone")
        return found

    def cache(self, limit: int = 10) -> Fresh[str, str]:
        return Fresh(self.look_up, limit=limit, clock=lambda: self.now)


async def test_it_asks_again_after_a_second() -> None:
    register = Register()
    register.values["a"] = "1"
    cache = register.cache()
    assert await cache.get("a") == "1"
    del register.values["a"]
    register.now += 0.99
    assert await cache.get("a") == "1"
    register.now += 0.01
    assert await cache.get("a") is None
    assert register.looked_up == ["a", "a"]


async def test_who_asks_often_does_not_wait_for_the_next_look_up() -> None:
    register = Register()
    register.values["a"] = "1"
    cache = register.cache()
    assert await cache.get("a") == "1"
    register.values["a"] = "2"
    register.open.clear()
    register.now += 0.5
    assert await cache.dated("a") == ("1", 100.5)
    await register.asked.acquire()
    await register.asked.acquire()
    assert await cache.get("a") == "1"
    register.open.set()
    while (found := await cache.dated("a")) == ("1", 100.5):  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert found == ("2", 101.0)
    assert register.looked_up == ["a", "a"]
    # What is gone is not believed for the rest of its time.
    del register.values["a"]
    register.now += 0.5
    assert await cache.get("a") == "2"
    while await cache.get("a") is not None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    # A look-up that fails leaves what is there for its time, and no longer.
    register.values["a"] = "3"
    assert await cache.get("a") == "3"
    register.broken = True
    register.now += 0.9
    assert await cache.get("a") == "3"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await cache.get("a") == "3"
    register.now += 0.1
    with pytest.raises(StorageUnavailable):
        await cache.get("a")


async def test_the_age_counts_from_the_question() -> None:
    register = Register()
    register.values["a"] = "1"
    register.open.clear()
    cache = register.cache()
    first = asyncio.create_task(cache.get("a"))
    await register.asked.acquire()
    del register.values["a"]
    register.now += 1.0
    second = asyncio.create_task(cache.get("a"))
    await register.asked.acquire()
    register.open.set()
    assert (await first, await second) == ("1", None)


async def test_all_who_ask_at_once_share_one_look_up_even_when_one_of_them_goes_away() -> None:
    register = Register()
    register.values["a"] = "1"
    register.open.clear()
    cache = register.cache()
    asking = [asyncio.create_task(cache.get("a")) for _ in range(5)]
    await register.asked.acquire()
    asking[0].cancel()
    register.open.set()
    assert await asyncio.gather(*asking[1:]) == ["1"] * 4
    assert register.looked_up == ["a"]


async def test_what_is_unknown_is_not_kept() -> None:
    register = Register()
    cache = register.cache()
    assert await cache.get("a") is None
    register.values["a"] = "1"
    assert await cache.get("a") == "1"


async def test_a_failure_is_raised_and_not_kept() -> None:
    register = Register()
    register.values["a"] = "1"
    register.broken = True
    cache = register.cache()
    with pytest.raises(StorageUnavailable):
        await cache.get("a")
    register.broken = False
    assert await cache.get("a") == "1"


async def test_it_holds_no_more_than_its_limit() -> None:
    register = Register()
    cache = register.cache(limit=3)
    for number in range(10):
        register.values[str(number)] = "x"
        await cache.get(str(number))
    assert len(cache) == 3
