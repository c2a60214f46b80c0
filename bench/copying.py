"""COPY alone: what the database reaches with the same raw rows and nothing else to do, which ingestion is measured against."""

from __future__ import annotations

import datetime as dt
import time
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier

from aggregators.frames import raw_frame
from ingest.events.decode import Limits, decode
from storage.edition import detect
from storage.hypertables import RAW_CHUNK, hypertable
from storage.sink_sql import copy_statement, raw_csv

ROWS = 20_000
"""Rows in one COPY and one transaction."""


class Copying:
    """The raw rows of some bodies, made CSV here, so that only COPY is timed, as often as wanted."""

    def __init__(self, kind: str, organization: UUID, bodies: list[bytes]) -> None:
        events = [
            event
            for body in bodies
            for event in decode(body, "application/json", now=dt.datetime.now(dt.UTC), limits=Limits()).events
        ]
        self._kind = kind
        self._rows = len(events)
        self._pieces: list[bytes] = []
        for at in range(0, len(events), ROWS):
            some = events[at : at + ROWS]
            frame = raw_frame(kind, [str(organization)] * len(some), some)
            self._pieces.append(raw_csv(frame, at))
        self._statement = copy_statement(frame, f"bench_{kind}")

    def rate(self, url: str) -> float:
        """Rows a second of COPY into a table like the sink's, indexes included, on TimescaleDB a hypertable like it."""
        table = f"bench_{self._kind}"
        with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
            connection.execute(
                SQL("create table if not exists {} (like {} including all)").format(
                    Identifier("store", table), Identifier("store", f"event_{self._kind}")
                )
            )
            if detect(connection).hypertables:
                connection.execute(hypertable(table, "time", RAW_CHUNK))
            started = time.perf_counter()
            for piece in self._pieces:
                with (
                    connection.transaction(),
                    connection.cursor() as cursor,
                    cursor.copy(self._statement) as copy,
                ):
                    copy.write(piece)
            seconds = time.perf_counter() - started
            connection.execute(SQL("drop table {}").format(Identifier("store", table)))
        return self._rows / seconds
