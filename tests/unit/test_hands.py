"""Hands: work is claimed, held by a heartbeat, released where it cannot end here, and looked for again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from jobs.hands import Hands, Lease
from storage.database import StorageUnavailable


class Board:
    """Work to claim, each piece a function, and what becomes of it."""

    def __init__(self, *pieces: Callable[[], Any] | Exception, beats: tuple[bool | Exception, ...] = ()) -> None:
        self.pieces = deque(pieces)
        self._beats = deque(beats)
        self.released: list[str] = []
        self.over = asyncio.Event()

    async def claim(self) -> Lease | None:
        if not self.pieces:
            self.over.set()
            return None
        piece = self.pieces.popleft()
        if isinstance(piece, Exception):
            raise piece
        name = piece.__name__

        async def release() -> None:
            self.released.append(name)

        return Lease({"key": name}, work=piece, renew=self._renew, release=release)

    async def _renew(self) -> bool:
        beat = self._beats.popleft() if self._beats else True
        if isinstance(beat, Exception):
            raise beat
        return beat


def hands(board: Board, *, lease_s: float = 0.03, look_s: float = 60) -> Hands:
    return Hands("piece", board.claim, lease_s=lease_s, look_s=look_s)


async def test_each_piece_is_done_and_a_failure_is_its_own() -> None:
    done = []

    async def broken() -> None:
        raise ValueError("it cannot be committed")

    async def whole() -> None:
        done.append("whole")

    board = Board(broken, whole, StorageUnavailable("away"), whole, ValueError("a defect"), whole)
    async with hands(board, look_s=0.01).at_work(1), asyncio.timeout(5):
        await board.over.wait()
    assert done == ["whole"] * 3
    assert board.released == []


async def test_a_piece_that_is_anothers_is_stopped_and_the_next_one_done() -> None:
    ends = []

    async def lost() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("lost")

    async def following() -> None:
        ends.append("following")

    # A heartbeat that could not be told is no reason to stop.
    board = Board(lost, following, beats=(True, StorageUnavailable("away"), ValueError("a defect"), False))
    async with hands(board).at_work(1), asyncio.timeout(5):
        await board.over.wait()
    assert ends == ["lost", "following"]
    assert board.released == []


@pytest.mark.parametrize("last_s", [0.0, 5.0])
async def test_a_stop_waits_for_what_is_being_done_as_long_as_it_may_and_begins_nothing(last_s: float) -> None:
    began, let, ends = asyncio.Event(), asyncio.Event(), []

    async def piece() -> None:
        began.set()
        await let.wait()
        ends.append("piece")

    async def never() -> None:
        ends.append("never")

    board = Board(piece, never)
    async with asyncio.timeout(2), hands(board).at_work(1, last_s=last_s):
        await began.wait()
        if last_s:
            let.set()
    assert (ends, board.released) == ((["piece"], []) if last_s else ([], ["piece"]))


async def test_hands_that_found_nothing_look_again_when_they_are_told() -> None:
    board = Board()
    done = asyncio.Event()

    async def late() -> None:
        done.set()

    idle = hands(board)
    async with asyncio.timeout(5), idle.at_work(2):
        await board.over.wait()
        board.pieces.append(late)
        idle.look()
        await done.wait()


async def test_pieces_are_done_side_by_side_by_as_many_hands() -> None:
    both = asyncio.Barrier(2)

    async def met() -> None:
        await both.wait()

    board = Board(met, met)
    async with asyncio.timeout(5), hands(board).at_work(2):
        await board.over.wait()
