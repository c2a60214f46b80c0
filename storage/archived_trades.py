"""The latest trades of some ranges of time, from files of the archive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.sql import SQL, Composed, Identifier

from storage.archive import Archive, ArchivedFile, duck, escaped, told

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TIMES = ("time", "opened_at")

# Texts compare byte by byte, as the raw table's do.
_BEFORE = SQL("(time < ?::timestamptz or (time = ?::timestamptz and (source < ? or (source = ? and id < ?))))")


def archived_trades(
    archive: Archive,
    files: Sequence[ArchivedFile],
    columns: Sequence[str],
    ranges: Sequence[tuple[dt.datetime, dt.datetime]],
    filters: Mapping[str, tuple[str, ...]],
    wanted: int,
    before: tuple[dt.datetime, str, str] | None,
) -> list[dict[str, Any]]:
    """Rows as `recent_trades` has them, latest first. Blocks. Raises ArchiveDamaged where a file is not what was written.

    `filters` hold per key the values allowed, an empty strategy meaning none; `before` is the place behind which they go on.
    """
    concerned = [f for f in files if any(f.first_time < high and f.last_time >= low for low, high in ranges)]
    if not concerned:
        return []
    places = [escaped(archive.checked(file)) for file in concerned]
    conditions: list[Composed | SQL] = [
        SQL("({})").format(SQL(" or ").join([SQL("(time >= ?::timestamptz and time < ?::timestamptz)")] * len(ranges)))
    ]
    values: list[Any] = [places, *(moment.isoformat() for bounds in ranges for moment in bounds)]
    for key, allowed in filters.items():
        column = SQL("coalesce(strategy, '')") if key == "strategy" else Identifier(key)
        conditions.append(SQL("list_contains(?::varchar[], {})").format(column))
        values.append(list(allowed))
    if before is not None:
        conditions.append(_BEFORE)
        moment, source, name = before
        values += [moment.isoformat(), moment.isoformat(), source, source, name]
    listed = SQL(", ").join(
        SQL("epoch_us({})").format(Identifier(name)) if name in _TIMES else Identifier(name) for name in columns
    )
    text = SQL("select {} from read_parquet(?) where {} order by time desc, source desc, id desc limit ?").format(
        listed, SQL(" and ").join(conditions)
    )
    with told("the archive"), duck() as connection:
        rows = connection.execute(text.as_string(None), [*values, wanted]).fetchall()
    return [dict(zip(columns, map(_moment, columns, row), strict=True)) for row in rows]


def _moment(name: str, value: Any) -> Any:
    return _EPOCH + dt.timedelta(microseconds=value) if name in _TIMES else value
