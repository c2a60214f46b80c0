"""The organizations that records name in their headers, as far as they exist."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from ingest.kafka.intake import parse_organization
from storage.database import Database
from storage.organizations import existing


class KnownOrganizations:
    """Remembers those that exist. One that does not is asked for again when it is named again: it may have been made since."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.by_header: dict[bytes, UUID] = {}

    async def look_up(self, headers: Iterable[bytes | None]) -> None:
        """Finds out which of the organizations that are named for the first time exist. Raises StorageUnavailable."""
        named = {
            header: organization
            for header in set(headers) - self.by_header.keys()
            if header is not None and (organization := parse_organization(header)) is not None
        }
        if named:
            there = await existing(self._database, list(named.values()))
            self.by_header |= {header: one for header, one in named.items() if one in there}
