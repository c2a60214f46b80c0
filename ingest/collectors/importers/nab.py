"""`--as nab`: a series of the Numenta Anomaly Benchmark, `timestamp,value`, to `system` events."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ingest.collectors.importers.mapping import Column, Constant, Origin
from ingest.collectors.importers.row import Job
from ingest.collectors.importers.table import TableImporter


class NabImporter(TableImporter):
    """One measurement a row. The host is the file's name without its endings and the metric `value`, unless they are mapped.

    The timestamps have no zone; they are UTC.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(msgspec.structs.replace(job, kind="system"))

    def defaults(self) -> Mapping[str, Origin]:
        """Names the two columns that every series has."""
        return {
            "host": Constant(self._job.stem),
            "metric": Constant("value"),
            "value": Column("value"),
            "time": Column("timestamp"),
        }
