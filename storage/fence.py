"""The fence: a partition's position moves in the transaction that counts its events, for its owner only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from psycopg import Cursor
from psycopg.rows import TupleRow

from ingest.log import DeadLetter, Fenced, Position
from storage.database import Conn
from storage.named import load


def move(connection: Conn, positions: Sequence[Position], *, hold: bool = False) -> Cursor[TupleRow]:
    """Moves every position, or with `hold` only takes its row: either way nobody else can until the transaction ends.

    The answer is for `check`. Rows are taken in one order, so that no two writers wait in a ring.
    """
    ends = [position.expected if hold else position.next for position in positions]
    times: list[dt.datetime | None] = [None if hold else position.appended for position in positions]
    return connection.execute(
        load("log")["move_positions"],
        {
            "kinds": [position.kind for position in positions],
            "partitions": [position.partition for position in positions],
            "epochs": [position.epoch for position in positions],
            "expected": [position.expected for position in positions],
            "next": ends,
            "appended": times,
        },
    )


def check(moved: Cursor[TupleRow], positions: Sequence[Position]) -> None:
    """Raises Fenced where a position could not be moved."""
    done = {(kind, partition) for kind, partition in moved.fetchall()}
    lost = [(p.kind, p.partition) for p in positions if (p.kind, p.partition) not in done]
    if lost:
        raise Fenced(lost)


def bury(connection: Conn, dead: Sequence[DeadLetter]) -> None:
    """Remembers what is passed without being counted: only what stands there is a dead letter, whatever the topic holds."""
    connection.execute(
        load("log")["bury"],
        {
            "kinds": [letter.kind for letter in dead],
            "partitions": [letter.partition for letter in dead],
            "offsets": [letter.offset for letter in dead],
            "organizations": [letter.organization for letter in dead],
            "reasons": [letter.reason for letter in dead],
        },
    )
