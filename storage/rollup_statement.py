"""The SQL of a question to a rollup. It follows from the question's shape, so that what is asked again and again is composed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from aggregators import calendar
from aggregators.rollup import LAST_PLACE, Derived, Measure, Rollup, Sketched
from storage.rollup_sql import table

Figure = Measure | Derived | Sketched


def figures(rollup: Rollup, names: Sequence[str]) -> dict[str, Figure]:
    """What each name is. Raises KeyError for one that may not be asked for."""
    known: dict[str, Figure] = {m.name: m for m in rollup.measures if m.public}
    known |= {d.name: d for d in rollup.derived} | {s.name: s for s in rollup.sketched}
    return {name: known[name] for name in names}


def needed_measures(rollup: Rollup, asked: Mapping[str, Figure]) -> list[Measure]:
    """The stored measures that figures are computed from."""
    needed: dict[str, Measure] = {}
    for figure in asked.values():
        match figure:
            case Measure():
                needed[figure.name] = figure
            case Derived():
                needed |= {name: rollup.measure(name) for name in figure.needs}
            case Sketched():
                needed[figure.measure] = rollup.measure(figure.measure)
    return list(needed.values())


def sketches(measures: Sequence[Measure]) -> list[Measure]:
    """Those of the measures that are sketches."""
    return [measure for measure in measures if measure.merge in ("bins", "registers")]


@lru_cache(maxsize=1_024)
def statement(
    rollup: Rollup,
    names: tuple[str, ...],
    parts: tuple[str, ...],
    grain: str | None,
    zone: str,
    group_by: tuple[str, ...],
    filters: tuple[str, ...],
    continued: bool,
    sent: bool = False,
) -> bytes:
    """The SQL that reads the figures `names` by buckets of `grain` (None: all in one) and the keys of `group_by`.

    It takes the starts of the local days, weeks or months, where the grain is one; then for each part, which is a stored grain, the
    first bucket, the one behind the last, and the values of each key of `filters`; where it is `continued`, the place of the row that
    it continues behind; the limit. Where rows are `sent`, each part takes them before its first bucket, as an array for each column of
    `sent_columns`, and reads no table. Rows come as time, keys, the figures that are not sketched, and the sketches that the others are
    read from. The time of local days, weeks and months is the number of the bucket, from 1.
    """
    asked = figures(rollup, names)
    needed = needed_measures(rollup, asked)
    keys = [Identifier(key) for key in group_by]
    time = [SQL("{} as time").format(_bucket(grain, zone))] if grain else []
    base = _base(rollup, parts, [*time, *keys], keys, _carried(needed), filters, sent=needed if sent else None)
    groups = [Identifier("time"), *keys] if grain else keys
    text = _grouped(asked, needed, base, groups)
    if groups:
        listed = SQL(", ").join(groups)
        if continued:
            text += SQL(" where ({}) > ({})").format(listed, SQL(", ").join([SQL("%s")] * len(groups)))
        text += SQL(" order by {}").format(listed)
    return (text + SQL(" limit %s")).as_bytes()


@lru_cache(maxsize=256)
def ranking(
    rollup: Rollup,
    names: tuple[str, ...],
    parts: tuple[str, ...],
    group_by: tuple[str, ...],
    filters: tuple[str, ...],
    within: tuple[str, ...],
    by: str,
    descending: bool,
) -> bytes:
    """The SQL that reads the figures `names` of each group, ordered by the keys `within`, then the figure `by`, then the other keys.

    Groups that have no such figure come last of theirs. It takes the parts' parameters as `statement` does, then the limit and the
    offset. Rows come as keys, figures, and how many groups there are.
    """
    asked = figures(rollup, names)
    needed = needed_measures(rollup, asked)
    keys = [Identifier(key) for key in group_by]
    base = _base(rollup, parts, keys, keys, _carried(needed), filters)
    order: list[Composable] = [Identifier(key) for key in within]
    order.append(SQL("{} desc nulls last" if descending else "{} nulls last").format(Identifier(f"figure {by}")))
    order += [Identifier(key) for key in group_by if key not in within]
    text = SQL("select ranked.*, count(*) over () from ({}) as ranked order by {} limit %s offset %s")
    return text.format(_grouped(asked, needed, base, keys), SQL(", ").join(order)).as_bytes()


@lru_cache(maxsize=256)
def counting(rollup: Rollup, parts: tuple[str, ...], group_by: tuple[str, ...], filters: tuple[str, ...]) -> bytes:
    """The SQL that counts the groups. It takes the parts' parameters as `statement` does."""
    keys = [Identifier(key) for key in group_by]
    # A set of the keys, which a hash makes: count(distinct …) would sort every row.
    text = SQL("with {} select count(*) from (select distinct {} from base) as found")
    return text.format(_base(rollup, parts, keys, keys, [], filters), SQL(", ").join(keys)).as_bytes()


@lru_cache(maxsize=256)
def grouping(rollup: Rollup, parts: tuple[str, ...], group_by: tuple[str, ...], filters: tuple[str, ...]) -> bytes:
    """The SQL that lists the groups in order. It takes the parts' parameters as `statement` does, then the limit."""
    keys = [Identifier(key) for key in group_by]
    listed = SQL(", ").join(keys)
    text = SQL("with {} select distinct {} from base order by {} limit %s")
    return text.format(_base(rollup, parts, keys, keys, [], filters), listed, listed).as_bytes()


def _carried(needed: Sequence[Measure]) -> list[Identifier]:
    """The columns that the measures are merged from."""
    place = LAST_PLACE if any(m.merge == "last" for m in needed) else ()
    return [*(Identifier(m.name) for m in needed), *(Identifier(column) for column in place)]


def _base(
    rollup: Rollup,
    parts: Sequence[str],
    groups: Sequence[Composable],
    keys: Sequence[Identifier],
    carried: Sequence[Identifier],
    filters: Sequence[str],
    *,
    sent: Sequence[Measure] | None = None,
) -> Composed:
    """The stored rows of every part, with what they are grouped by and what is merged of them."""
    conditions = [
        SQL("bucket >= %s"),
        SQL("bucket < %s"),
        *(SQL("{} = any(%s)").format(Identifier(k)) for k in filters),
    ]
    selected = SQL(", ").join([Identifier("bucket"), *keys, *carried])
    read = [
        SQL("select {} from {} where {}").format(
            selected, table(rollup, part, "app") if sent is None else _sent(rollup, sent), SQL(" and ").join(conditions)
        )
        for part in parts
    ]
    return SQL("base as (select {} from ({}) as part)").format(
        SQL(", ").join([*groups, *carried]), SQL(" union all ").join(read)
    )


def sent_columns(rollup: Rollup, needed: Sequence[Measure]) -> dict[str, str]:
    """The columns of rows that are sent instead of read, with their types: bucket, keys, and what these measures are merged from."""
    place = {"last_time": "timestamptz", "last_source": "text", "last_id": "text"}
    place = place if any(measure.merge == "last" for measure in needed) else {}
    measures = {measure.name: str(measure.pg_type) for measure in needed}
    return {"bucket": "timestamptz", **dict.fromkeys(rollup.keys, "text"), **measures, **place}


def _sent(rollup: Rollup, needed: Sequence[Measure]) -> Composed:
    """Rows that come as arrays. Texts compare as in the tables."""
    columns = sent_columns(rollup, needed)
    typed = [
        SQL('{c}::text collate "C" as {c}' if kind == "text" else "{c}").format(c=Identifier(name))
        for name, kind in columns.items()
    ]
    arrays = [SQL("unnest(%s::{}[]) as {}").format(SQL(kind), Identifier(name)) for name, kind in columns.items()]
    return SQL("(select {} from (select {}) as arrays) as sent").format(SQL(", ").join(typed), SQL(", ").join(arrays))


def _bucket(grain: str, zone: str) -> Composable:
    """The asked bucket of a stored one."""
    if grain in calendar.LOCAL_DAYS:
        return SQL("width_bucket(bucket, %s::timestamptz[])")
    if grain in ("1m", "5m", "15m"):
        width = {"1m": "1 minute", "5m": "5 minutes", "15m": "15 minutes"}[grain]
        return SQL("date_bin({}, bucket, 'epoch')").format(SQL("interval {}").format(Literal(width)))
    return SQL("date_trunc('hour', bucket, {})").format(Literal(zone))


_LATEST = SQL("(array_agg({c} order by last_time desc, last_source desc, last_id desc))[1]")


_SKETCHES = SQL("string_agg({c}, ''::bytea)")
"""All sketches of a group, as they are stored: numpy merges them many times as fast as SQL could."""


def _grouped(
    asked: Mapping[str, Figure], needed: Sequence[Measure], base: Composed, groups: list[Identifier]
) -> Composed:
    """Merges the parts by group: first the asked figures that are not sketched, then the sketches that the others are read from."""
    forms = {"add": SQL("sum({c})"), "min": SQL("min({c})"), "max": SQL("max({c})"), "last": _LATEST}
    totals = [
        SQL("{} as {}").format(forms.get(m.merge, _SKETCHES).format(c=Identifier(m.name)), Identifier(m.name))
        for m in needed
    ]
    merged = SQL("totals as (select {} from base {})").format(
        SQL(", ").join([*groups, *totals, SQL("count(*) as stored_rows")]), _group_by(groups)
    )
    outputs: list[Composable] = list(groups)
    outputs += [
        SQL("{} as {}").format(_output(figure), Identifier(f"figure {name}"))
        for name, figure in asked.items()
        if not isinstance(figure, Sketched)
    ]
    outputs += [Identifier(m.name) for m in sketches(needed)]
    return SQL("with {}, {} select {} from totals").format(base, merged, SQL(", ").join(outputs)) + (
        SQL("") if groups else SQL(" where stored_rows > 0")
    )


def _group_by(groups: list[Identifier]) -> Composable:
    return SQL("group by {}").format(SQL(", ").join(groups)) if groups else SQL("")


def _output(figure: Measure | Derived) -> Composable:
    return SQL(figure.sql) if isinstance(figure, Derived) else Identifier(figure.name)
