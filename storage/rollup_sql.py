"""The SQL that follows from a rollup's declaration: its tables and views, its upsert."""

from __future__ import annotations

import hashlib

import polars as pl
from psycopg.sql import SQL, Composable, Composed, Identifier

from aggregators.engine import columns
from aggregators.rollup import Measure, Rollup
from storage.arrays import literal
from storage.database import API_ROLE, Conn
from storage.filled import held, remember, to_be_filled

_PLACE = (("last_time", "timestamptz"), ("last_source", "text"), ("last_id", "text"))


def table(rollup: Rollup, grain: str, schema: str = "store") -> Identifier:
    """The table of one grain (schema `store`), or the organization's view of it (schema `app`)."""
    return Identifier(schema, table_name(rollup, grain))


def table_name(rollup: Rollup, grain: str) -> str:
    """The name of that table without its schema."""
    return f"rollup_{rollup.name}_{grain}"


def ensure(connection: Conn, rollup: Rollup) -> None:
    """Creates what the declaration has and the database has not; marks the measures to be filled where events came before them."""
    declaration = declared(rollup)
    found = held(connection, rollup, declaration)
    if found is not None and found.declaration == declaration:
        return
    with connection.transaction():
        for grain in rollup.grains:
            for statement in ddl(rollup, grain):
                connection.execute(statement)
        kind = Identifier("store", f"event_{rollup.event}")
        row = connection.execute(SQL("select not exists (select 1 from {})").format(kind)).fetchone()
        empty = row is not None and bool(row[0])
        remember(connection, rollup, declaration, {} if empty else to_be_filled(rollup, found))


def declared(rollup: Rollup) -> str:
    """What the database was built from: it changes when the stored columns or what they mean change."""
    text = repr(
        (
            rollup.event,
            rollup.grains,
            rollup.keys,
            rollup.lookup,
            *((m.name, _DECLARED_AS.get(m.pg_type, m.pg_type), m.merge, m.grains, m.meaning) for m in rollup.measures),
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()


_DECLARED_AS = {"bytea": "bigint[]"}
"""Sketches were arrays once. Migration 0007 converted them in place, so no rollup has to be filled again because of that."""


def ddl(rollup: Rollup, grain: str) -> list[Composed]:
    """Table, columns, lookup index and barrier view of one grain; each statement may be run again."""
    name = table(rollup, grain)
    keys = [Identifier(key) for key in rollup.keys]
    statements = [
        SQL(
            "create table if not exists {} (organization uuid not null, bucket timestamptz not null, {}, primary key ({}))"
            " with (fillfactor = 70)"
        ).format(
            name,
            SQL(", ").join(SQL('{} text collate "C" not null').format(key) for key in keys),
            SQL(", ").join([Identifier("organization"), Identifier("bucket"), *keys]),
        )
    ]
    statements += [
        SQL("alter table {} add column if not exists {} {}").format(name, Identifier(column), SQL(pg_type))
        for column, pg_type in _typed(rollup, grain)
    ]
    if rollup.lookup:
        statements.append(
            SQL("create index if not exists {} on {} ({})").format(
                Identifier(f"rollup_{rollup.name}_{grain}_lookup"),
                name,
                SQL(", ").join(
                    [Identifier("organization"), *(Identifier(key) for key in rollup.lookup), Identifier("bucket")]
                ),
            )
        )
    view = table(rollup, grain, "app")
    statements += [
        SQL("drop view if exists {}").format(view),
        SQL(
            "create view {} with (security_barrier) as select * from {} where organization = app.organization()"
        ).format(view, name),
        SQL("grant select on {} to {}").format(view, Identifier(API_ROLE)),
    ]
    return statements


def _typed(rollup: Rollup, grain: str) -> list[tuple[str, str]]:
    stored = [(m.name, str(m.pg_type)) for m in rollup.measures_at(grain)]
    place = [(name, 'text collate "C"' if kind == "text" else kind) for name, kind in _PLACE]
    return stored + (place if rollup.has_last() else [])


def upsert(rollup: Rollup, grain: str, into: Identifier) -> Composed:
    """The statement that merges rows into a table of this shape. It takes one array a column, in the order of `columns`.

    The rows bring their sketches merged with the stored ones already (storage.sketch_merge): first come all sketches of a measure, one
    behind the other in one bytea, then the columns, in which a sketch is two: the place of its first byte and the number of its bytes.
    """
    measures = rollup.measures_at(grain)
    types = {"organization": "uuid", "bucket": "timestamptz", **dict.fromkeys(rollup.keys, "text"), **dict(_PLACE)}
    types |= {m.name: str(m.pg_type) for m in measures}
    selected: list[Composable] = []
    wires: list[Composable] = []
    sent: list[Composable] = []
    for name in columns(rollup, grain):
        column = Identifier(name)
        if types[name] == "bytea":
            first, size = Identifier(f"{name} first"), Identifier(f"{name} size")
            cut = SQL("nullif(substring(%s::bytea from {}::integer for {}::integer), ''::bytea)")
            selected.append(cut.format(first, size))
            sent += [first, size]
            wires += [SQL("%s::bigint[]")] * 2
        else:
            selected.append(column)
            sent.append(column)
            wires.append(SQL(f"%s::{types[name]}[]"))
    merges = [SQL("{} = {}").format(Identifier(m.name), merge(m, SQL("t"), SQL("excluded"))) for m in measures]
    if rollup.has_last():
        merges += [
            SQL("{c} = case when {newer} then excluded.{c} else t.{c} end").format(c=Identifier(c), newer=_NEWER)
            for c, _ in _PLACE
        ]
    return SQL(
        # Sets in a select list go row by row, where a function in the from clause would first be gathered whole.
        "insert into {into} as t ({columns}) select {selected} from (select {sent}) as s"
        " on conflict ({keys}) do update set {merges}"
    ).format(
        into=into,
        columns=SQL(", ").join(Identifier(name) for name in columns(rollup, grain)),
        selected=SQL(", ").join(selected),
        sent=SQL(", ").join(SQL("unnest({}) as {}").format(w, name) for w, name in zip(wires, sent, strict=True)),
        keys=SQL(", ").join(Identifier(key) for key in ("organization", "bucket", *rollup.keys)),
        merges=SQL(", ").join(merges),
    )


_NEWER = SQL("(excluded.last_time, excluded.last_source, excluded.last_id) > (t.last_time, t.last_source, t.last_id)")


def merge(measure: Measure, old: Composable, new: Composable) -> Composed:
    """The expression that merges two stored values of a measure; of a sketch the new value has the old one in it already."""
    forms = {
        "add": "coalesce({o}.{c} + {n}.{c}, {o}.{c}, {n}.{c})",
        "min": "least({o}.{c}, {n}.{c})",
        "max": "greatest({o}.{c}, {n}.{c})",
        "last": "case when {newer} then {n}.{c} else {o}.{c} end",
        "bins": "{n}.{c}",
        "registers": "{n}.{c}",
    }
    return SQL(forms[measure.merge]).format(o=old, n=new, c=Identifier(measure.name), newer=_NEWER)


def array_literals(frame: pl.DataFrame) -> list[str]:
    """Each column as the text of an array, for `upsert`."""
    return [literal(frame[name]) for name in frame.columns]
