"""Fills what was newly declared from the raw events, a day a transaction, in the background and in one process at a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from aggregators.rollup import Rollup
from storage import rollup_sql, sink_sql
from storage.archive import Archive
from storage.database import JOBS_ROLE, Conn, connect, translated
from storage.filled import mark_filled
from storage.raw_days import DAY
from storage.recompute import Progress, covered, days_held, replace_rows

_LOCK = 731_004
"""First key of the advisory lock; the second is the hash of the rollup's name."""

LOOK_AGAIN_S = 2.0


def fill(
    url: str,
    rollups: Sequence[Rollup],
    progress: Progress,
    wait: Callable[[float], bool],
    archive: Archive | None = None,
) -> None:
    """Fills these rollups, or waits while another process does, until all are filled or `wait` says to stop.

    `wait` is given seconds and returns whether to stop. What `progress` raises ends the filling after a whole day; the next call,
    in whichever process, goes on behind the last day done. Raw events that were dropped are read from the archive; days that are in
    neither place are left out, which the log says. Raises ArchiveUnavailable where a file of the archive is not what was written.
    """
    waiting = list(rollups)
    with translated(), connect(url, name="fill", role=JOBS_ROLE) as connection:
        while True:
            waiting = [rollup for rollup in waiting if not _filled_by_us(connection, rollup, progress, archive)]
            if not waiting or wait(LOOK_AGAIN_S):
                return


def _filled_by_us(connection: Conn, rollup: Rollup, progress: Progress, archive: Archive | None) -> bool:
    """Whether there is nothing left to fill; False while another process is at it."""
    key = (_LOCK, rollup.name)
    row = connection.execute("select pg_try_advisory_lock(%s, hashtext(%s))", key).fetchone()
    if row is None or not row[0]:
        return False
    try:
        _fill(connection, rollup, progress, archive)
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock(%s, hashtext(%s))", key)
    return True


def _fill(connection: Conn, rollup: Rollup, progress: Progress, archive: Archive | None) -> None:
    declaration = rollup_sql.declared(rollup)
    row = connection.execute(
        "select filled_to from store.rollup where name = %s and declaration = %s and not filled",
        (rollup.name, declaration),
    ).fetchone()
    if row is None:
        return
    filled_to: dt.date | None = row[0]
    bounds = covered(connection, [rollup])
    # What comes while this goes on needs no filling: whoever writes it writes the new measures too.
    days = days_held(connection, rollup, *bounds, archive) if bounds is not None else []
    left = [day for day in days if filled_to is None or day.date() > filled_to]
    _progressed(connection, rollup.name, filled_to, len(days) - len(left), len(days))
    for done, day in enumerate(left, start=len(days) - len(left)):
        progress(rollup.name, done, len(days))
        with connection.transaction():
            sink_sql.own_rollup(connection, rollup.name)
            replace_rows(connection, rollup, day, day + DAY, archive)
            _progressed(connection, rollup.name, day.date(), done + 1, len(days))
    mark_filled(connection, rollup.name, declaration)
    progress(rollup.name, len(days), len(days))


def _progressed(connection: Conn, name: str, filled_to: dt.date | None, done: int, days: int) -> None:
    connection.execute(
        "update store.rollup set filled_to = %s, days_done = %s, days = %s where name = %s",
        (filled_to, done, days, name),
    )
