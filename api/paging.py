"""Lists by pages: which page is asked for, and how many there are in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

import msgspec


class PageQuery(msgspec.Struct, frozen=True):
    """A page, counted from 1, of at most `limit` entries."""

    page: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50

    @property
    def offset(self) -> int:
        """How many entries stand before it."""
        return (self.page - 1) * self.limit


class Counted(Protocol):
    """A row that says how many there are in all."""

    @property
    def total(self) -> int:
        """All of them, on whatever page."""


def total_of(rows: Sequence[Counted]) -> int:
    """How many there are in all; 0 past the last page."""
    return rows[0].total if rows else 0
