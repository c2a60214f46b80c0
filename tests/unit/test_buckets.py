"""Token buckets, and whose a request is that came through proxies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.client_address import Proxies, neighbourhood
from api.cors import Cors
from api.limits.buckets import Buckets
from api.limits.sign_ins import SignIns


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 30)), max_size=60))
def test_nobody_gets_more_than_the_rate_and_one_bucket(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    buckets: Buckets[str] = Buckets("b", rate=2.0, capacity=10.0, clock=clock)
    taken = largest = 0
    for pause, amount in steps:
        clock.now += pause
        wait = buckets.take("a", amount)
        if wait == 0:
            taken, largest = taken + amount, max(largest, amount)
        else:
            assert wait == pytest.approx(buckets.wait("a", amount))
            clock.now += wait + 1e-6
            assert buckets.take("a", amount) == 0
            taken, largest = taken + amount, max(largest, amount)
        # A batch larger than the bucket leaves a debt, at most of itself.
        assert taken <= 10 + 2.0 * clock.now + max(0, largest - 10) + 1e-3
    assert buckets.take("b", 10) == 0


def test_a_bucket_is_full_again_after_its_time_and_others_are_their_own() -> None:
    clock = Clock()
    buckets: Buckets[str] = Buckets("b", rate=2.0, capacity=10.0, clock=clock)
    assert [buckets.take("a") for _ in range(10)] == [0.0] * 10
    assert (buckets.take("a"), buckets.left("a"), buckets.left("b")) == (0.5, 0.0, 10.0)
    clock.now = 100.0
    assert buckets.left("a") == 10.0
    assert buckets.take("a", 25) == 0
    assert (buckets.left("a"), buckets.wait("a")) == (-15.0, 8.0)


def test_the_number_of_buckets_is_bounded_and_the_full_ones_go_first() -> None:
    clock = Clock()
    buckets: Buckets[int] = Buckets("b", rate=1.0, capacity=1.0, most=100, clock=clock)
    buckets.take(-1)
    clock.now = 10.0
    for number in range(99):
        buckets.take(number)
    buckets.take(1_000)
    assert len(buckets) == 100
    assert buckets.left(5) == 0.0
    for number in range(2_000, 5_000):
        buckets.take(number)
    assert len(buckets) <= 100


TRUSTING = Proxies(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["1.1.1.1, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["1.1.1.1", "198.51.100.1:4711"], "198.51.100.1"),
        ("10.1.2.3", ["1.1.1.1, nonsense"], "10.1.2.3"),
        ("10.1.2.3", ["[2001:db8::1]:80"], "2001:db8::1"),
        ("::ffff:10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["10.0.0.7"], "10.0.0.7"),
        (None, ["198.51.100.1"], None),
    ],
)
def test_only_a_trusted_proxy_says_who_is_behind_it(peer: str | None, forwarded: list[str], client: str | None) -> None:
    assert TRUSTING.client(peer, forwarded) == client


def test_an_ipv6_network_shares_a_limit() -> None:
    assert neighbourhood("2001:db8:1:2:3::4") == neighbourhood("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert neighbourhood("::ffff:1.2.3.4") == neighbourhood("1.2.3.4") == "1.2.3.4"
    assert (neighbourhood(None), neighbourhood("")) == ("", "")


@pytest.mark.parametrize(
    "wrong", ["*", "null", "app.example.com", "https://a.example/", "https://A.example", "https://*.a"]
)
def test_an_origin_is_exact(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected an origin"):
        Cors([wrong])


async def test_failures_are_counted_by_address_and_by_account() -> None:
    clock = Clock()
    limit = SignIns(5, clock=clock)
    for number in range(5):
        assert (await limit.begin("1.1.1.1", f"{number}@example.com")).wait == 0
    assert (await limit.begin("1.1.1.1", "9@example.com")).wait == 60
    for number in range(4):
        assert (await limit.begin(f"2.2.2.{number}", "0@example.com")).wait == 0
    assert (await limit.begin("3.3.3.3", "0@Example.com")).wait == 60
    clock.now = 60.0
    assert (await limit.begin("1.1.1.1", "0@example.com")).wait == 0


async def test_an_account_cannot_be_locked_from_elsewhere_where_it_has_signed_in_before() -> None:
    limit = SignIns(5, clock=Clock())
    await limit.succeed(await limit.begin("1.1.1.1", "ann@example.com"))
    for number in range(5):
        assert (await limit.begin(f"2.2.2.{number}", "ann@example.com")).wait == 0
    assert (await limit.begin("2.2.2.9", "ann@example.com")).wait == 60
    for _ in range(20):
        begun = await limit.begin("1.1.1.1", "ann@example.com")
        assert begun.wait == 0
        await limit.succeed(begun)


async def test_an_own_account_buys_no_guesses() -> None:
    limit = SignIns(5, clock=Clock())
    for number in range(5):
        assert (await limit.begin("1.1.1.1", f"{number}@example.com")).wait == 0
    own = await limit.begin("1.1.1.1", "mallory@example.com")
    assert own.wait == 60
    limit = SignIns(5, clock=Clock())
    for number in range(4):
        await limit.begin("1.1.1.1", f"{number}@example.com")
        await limit.succeed(await limit.begin("1.1.1.1", "mallory@example.com"))
    await limit.begin("1.1.1.1", "5@example.com")
    assert (await limit.begin("1.1.1.1", "6@example.com")).wait == 60
