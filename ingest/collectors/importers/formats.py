"""The formats that `--as` knows, by name."""

from __future__ import annotations

from collections.abc import Callable

from ingest.collectors.importers.access_log import AccessLogImporter
from ingest.collectors.importers.freqtrade import FreqtradeImporter
from ingest.collectors.importers.nab import NabImporter
from ingest.collectors.importers.ndjson import NdjsonImporter
from ingest.collectors.importers.row import Importer, Job
from ingest.collectors.importers.table import TableImporter

FORMATS: dict[str, Callable[[Job], Importer]] = {
    "nab": NabImporter,
    "access-log": AccessLogImporter,
    "freqtrade": FreqtradeImporter,
    "ndjson": NdjsonImporter,
    "csv": TableImporter,
}
"""What each format is called on the command line, and what reads it."""

ANY_ENCODING = frozenset({"access-log"})
"""Formats that hold whatever bytes strangers sent, of which none matters to the figures."""
