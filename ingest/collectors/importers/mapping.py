"""`--map field=column`: which column, or which constant, a field of the event is taken from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

import msgspec

from ingest.collectors.importers.row import BadMapping


class Column(msgspec.Struct, frozen=True):
    """A field that is read from the row."""

    name: str


class Constant(msgspec.Struct, frozen=True):
    """A field that is the same in every row."""

    text: str


Origin = Column | Constant


def parse_mapping(options: Iterable[str]) -> dict[str, str]:
    """Reads `field=column` pairs, one or several separated by commas an option. Raises BadMapping."""
    mapping: dict[str, str] = {}
    for option in options:
        for pair in option.split(","):
            field, equals, value = (part.strip() for part in pair.partition("="))
            if not equals or not field or not value:
                raise BadMapping(f"--map {option}: expected field=column or field=constant, got {pair.strip()!r}")
            if mapping.get(field, value) != value:
                raise BadMapping(f"--map {field}: is given twice, as {mapping[field]!r} and as {value!r}")
            mapping[field] = value
    return mapping


def origin(value: str, columns: Collection[str]) -> Origin:
    """Returns what a mapping's value means: the column of that name where the file has it, otherwise the value itself.

    A value in double quotes is always itself, for a constant that happens to be a column's name as well.
    """
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return Constant(value[1:-1])
    return Column(value) if value in columns else Constant(value)


def check_fields(mapping: Iterable[str], known: Collection[str], *, prefix: str | None = None) -> None:
    """Raises BadMapping for a field that the event does not have, with the nearest name that it has."""
    for field in mapping:
        if field in known or (prefix is not None and field.startswith(prefix) and field != prefix):
            continue
        near = get_close_matches(field, list(known), n=1)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(sorted(known))}"
        raise BadMapping(f"--map {field}: is no field of this event; {hint}")
