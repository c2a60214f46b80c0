"""Ways to bring a sink to a standstill at a known step, with the database's own means."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier


class Blocker:
    """Holds a table so that it can be read and not written, while the block runs: who writes to it waits."""

    def __init__(self, url: str, table: str) -> None:
        self._url = url
        self._table = table
        self.connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Blocker:
        self.connection = psycopg.connect(self._url)
        self.connection.execute(SQL("lock table {} in share mode").format(Identifier("store", self._table)))
        return self

    def __exit__(self, *_: object) -> None:
        assert self.connection is not None
        self.connection.close()

    def is_waited_for(self) -> bool:
        """Whether a sink waits for the table now."""
        assert self.connection is not None
        # Else a transaction sees the same activity until it ends.
        self.connection.execute("select pg_stat_clear_snapshot()")
        row = self.connection.execute(
            "select exists (select from pg_locks as l join pg_stat_activity as a using (pid)"
            " where not l.granted and l.relation = to_regclass(%s) and a.application_name = 'streamgauge sink')",
            (f"store.{self._table}",),
        ).fetchone()
        return bool(row and row[0])
