"""How the room of a statement's appendix is shared between its currencies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs.reports.pnl import fair_shares


@given(room=st.integers(0, 5_000), wanted=st.lists(st.integers(0, 3_000), max_size=12))
def test_nobody_gets_less_than_another_unless_it_wants_no_more(room: int, wanted: list[int]) -> None:
    shares = fair_shares(room, wanted)
    assert all(0 <= share <= want for share, want in zip(shares, wanted, strict=True))
    assert sum(shares) == min(room, sum(wanted))
    most = max(shares, default=0)
    assert all(share == want or share >= most - 1 for share, want in zip(shares, wanted, strict=True))


def test_a_large_currency_leaves_room_for_a_small_one() -> None:
    assert fair_shares(1_000, [1_619, 2_759]) == [500, 500]
    assert fair_shares(1_000, [20, 2_759]) == [20, 980]
