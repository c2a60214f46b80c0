"""A sink in a process of its own, to be killed: `python -m tests.integration.sink_process URL ORGANIZATION exit|wait`."""

from __future__ import annotations

import os
import sys
import time
from uuid import UUID

from aggregators.definitions import ROLLUPS
from storage.sink import DatabaseSink
from tests.samples import Sample, batches, enterprise, system, trade, view


def group(number: int) -> list[Sample]:
    """The events of all kinds that are written here; `number` tells groups apart."""
    return [
        system(f"a{number}"),
        system(f"n{number}", source="import/file", sequence=number),
        enterprise(f"b{number}"),
        trade(f"c{number}", "0.1"),
        view(f"d{number}", "like"),
    ]


def main(url: str, organization: str, how: str) -> None:
    """Writes group 0, then group 1, before whose commit the process ends (exit) or after whose commit it waits to be killed."""
    owners = [UUID(organization)]
    first = DatabaseSink(url, ROLLUPS)
    first.write(batches(group(0), owners))
    print("first", flush=True)
    if how == "exit":
        DatabaseSink(url, ROLLUPS, before_commit=lambda _: os._exit(9)).write(batches(group(1), owners))
    first.write(batches(group(1), owners))
    print("second", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
