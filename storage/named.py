"""Named queries: a .sql file of storage/queries, cut at its `-- name:` lines."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)


@cache
def load(area: str) -> dict[str, str]:
    """The statements of one area by name; raises ValueError for a name twice. The text above the first is a comment."""
    text = (files("storage") / "queries" / f"{area}.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    queries: dict[str, str] = {}
    for name, statement in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"{area}.sql names {name} twice")
        queries[name] = statement.strip()
    return queries
