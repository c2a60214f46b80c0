"""The database's roles, one for each thing that a process does, and what they may do with the tables of events and rollups.

Migration 0016 says what each role is for, and gives it the tables that do not follow from a declaration.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.sql import SQL, Identifier

from aggregators.rollup import Rollup
from ingest.events import KINDS
from storage import rollup_sql
from storage.database import JOBS_ROLE, SINK_ROLE, Conn


def grant(connection: Conn, rollups: Sequence[Rollup]) -> None:
    """Gives the sink and the jobs their rights on every table of raw events and of rollups, the new ones too, and on the standings'.

    Both count; only jobs delete: raw days that are archived, and rows of a rollup that are put anew. No row-level security here:
    TimescaleDB has either that or compression. The API's role has no right on these tables at all, and reads barrier views.
    """
    names = [f"event_{kind}" for kind in sorted(KINDS)]
    names += [rollup_sql.table_name(rollup, grain) for rollup in rollups for grain in rollup.grains]
    for role, rights in ((SINK_ROLE, "select, insert, update"), (JOBS_ROLE, "select, insert, update, delete")):
        for name in names:
            _grant(connection, rights, name, role)
    _grant(connection, "select", "standing_edge", JOBS_ROLE)


def _grant(connection: Conn, rights: str, name: str, role: str) -> None:
    """Only what is missing: on a hypertable a grant touches every chunk."""
    table = Identifier("store", name)
    held = connection.execute(
        "select bool_and(has_table_privilege(%s, %s, wanted)) from unnest(string_to_array(%s, ', ')) as wanted",
        (role, table.as_string(connection), rights),
    ).fetchone()
    if held is None or not held[0]:
        connection.execute(SQL("grant {} on {} to {}").format(SQL(rights), table, Identifier(role)))
