"""What the database holds, read back in the shapes of the one-pass computation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from aggregators.definitions import ROLLUPS
from storage.archive import Archive
from storage.recompute import Difference, verify
from tests.one_pass import Key, Row, Tables, pairs

Connection = psycopg.Connection[Any]
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
KINDS = ("enterprise", "system", "trade", "view")


def organizations(url: str, count: int = 2) -> list[UUID]:
    """New organizations, so that one database serves many examples."""
    made = [uuid4() for _ in range(count)]
    with psycopg.connect(url, autocommit=True) as connection:
        for one in made:
            connection.execute("insert into store.organization (id, name) values (%s, %s)", (one, str(one)))
    return made


def whole_microseconds(time: dt.datetime) -> int:
    """Microseconds since 1970."""
    return (time - _EPOCH) // dt.timedelta(microseconds=1)


def rollup_rows(url: str, of: Collection[UUID]) -> Tables:
    """Every row of every rollup of these organizations."""
    tables: Tables = {}
    with psycopg.connect(url, row_factory=dict_row, options="-c timezone=UTC") as connection:
        for rollup in ROLLUPS:
            for grain in rollup.grains:
                rows: dict[Key, Row] = {}
                statement = SQL("select * from {} where organization = any(%s)")
                name = Identifier("store", f"rollup_{rollup.name}_{grain}")
                for row in connection.execute(statement.format(name), (list(of),)):
                    place = [row.pop("organization"), int(row.pop("bucket").timestamp())]
                    if "last_time" in row:
                        row["last_time"] = whole_microseconds(row["last_time"])
                    row |= {name: pairs(value) for name, value in row.items() if isinstance(value, bytes)}
                    rows[(*place, *(row.pop(key) for key in rollup.keys))] = row
                tables[rollup.name, grain] = rows
    return tables


def reaction_rows(url: str, of: Collection[UUID]) -> dict[Key, Row]:
    """The current reactions of these organizations' people."""
    with psycopg.connect(url, row_factory=dict_row, options="-c timezone=UTC") as connection:
        found = connection.execute("select * from store.video_reaction where organization = any(%s)", (list(of),))
        return {
            (row.pop("organization"), row.pop("video_id"), row.pop("viewer")): row
            | {"time": whole_microseconds(row["time"])}
            for row in found.fetchall()
        }


def raw_identities(url: str, of: Collection[UUID]) -> list[tuple[UUID, str, str, str]]:
    """Organization, kind, source and id of every raw event, sorted; one that was counted twice stands there twice."""
    found: list[tuple[UUID, str, str, str]] = []
    with psycopg.connect(url) as connection:
        for kind in KINDS:
            statement = SQL("select organization, source, id from {} where organization = any(%s)")
            rows = connection.execute(statement.format(Identifier("store", f"event_{kind}")), (list(of),))
            found += [(organization, kind, source, name) for organization, source, name in rows]
    return sorted(found)


def count(url: str, kind: str) -> int:
    """The number of raw events of a kind."""
    return int(scalar(url, SQL("select count(*) from {}").format(Identifier("store", f"event_{kind}"))))


def scalar(url: str, statement: Any, parameters: Any = None) -> Any:
    """The one value that a query answers."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement, parameters).fetchone()
        assert row is not None
        return row[0]


def rows(url: str, statement: Any, parameters: Any = None) -> list[Any]:
    """The rows that a query answers, with times in UTC."""
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        return connection.execute(statement, parameters).fetchall()


def run(url: str, *statements: str) -> None:
    """Runs statements as the database's owner."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def found_differences(url: str, archive: Archive | None = None) -> list[Difference]:
    """What `streamgauge verify` finds over everything there is."""
    return list(verify(url, ROLLUPS, None, None, lambda *_: None, archive))
