"""Importers: files in, events out, row by row, resumable, one format a file."""

from ingest.collectors.importers.batches import RejectedRow
from ingest.collectors.importers.formats import FORMATS
from ingest.collectors.importers.mapping import parse_mapping
from ingest.collectors.importers.row import BadMapping, FileFault
from ingest.collectors.importers.run import OnProgress, Server, Summary, import_file

__all__ = [
    "FORMATS",
    "BadMapping",
    "FileFault",
    "OnProgress",
    "RejectedRow",
    "Server",
    "Summary",
    "import_file",
    "parse_mapping",
]
