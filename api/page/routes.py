"""The page's files."""

from __future__ import annotations

from api.routing import Route


def routes() -> list[Route]:
    """The page and what it loads."""
    return []
