"""The commit mark: what one process writes, another sees; every raise is seen, whoever else raises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from api.cache.commit_mark import SLOTS, CommitMark

ACME, RIVAL = UUID(int=1), UUID(int=2)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[CommitMark, CommitMark]]:
    marks = CommitMark(tmp_path / "mark"), CommitMark(tmp_path / "mark")
    yield marks
    for mark in marks:
        mark.close()


def test_a_raise_is_seen_by_the_other_and_concerns_nobody_else(two: tuple[CommitMark, CommitMark]) -> None:
    ours, theirs = two
    concerned = theirs.slots(ACME, ["trade", "system"])
    before, rivals = theirs.values(concerned), theirs.values(theirs.slots(RIVAL, ["trade"]))
    ours.raise_(ACME, ["trade"])
    after = theirs.values(concerned)
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert theirs.values(theirs.slots(RIVAL, ["trade"])) == rivals


def test_no_value_comes_twice(two: tuple[CommitMark, CommitMark]) -> None:
    seen = set()
    (slot,) = two[0].slots(ACME, ["view"])
    for number in range(1_000):
        two[number % 2].raise_(ACME, ["view"])
        seen.add(two[0].values([slot]))
    assert len(seen) == 1_000


def test_all_can_be_raised_and_the_file_keeps_what_it_says(tmp_path: Path) -> None:
    mark = CommitMark(tmp_path / "mark")
    mark.raise_all()
    values = mark.values(range(SLOTS))
    assert len(set(values)) == SLOTS
    mark.close()
    again = CommitMark(tmp_path / "mark")
    assert again.values(range(SLOTS)) == values
    again.close()
