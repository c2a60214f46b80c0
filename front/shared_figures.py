"""The counters of a service's processes as one: any of them tells the sum at `/metrics`.

prometheus-client decides when it is imported, by a variable of the environment, so nothing here imports it before that is set.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_figures(workers: int) -> Iterator[None]:
    """Keeps the counters where all processes find them. To be entered before prometheus-client is imported; nothing for one process."""
    if workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="streamgauge-figures-") as folder:
        os.environ[_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[_FOLDER]


def forget(process: int) -> None:
    """What a process that ended told of the moment, such as its open streams, counts no longer. What it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(process)  # type: ignore[no-untyped-call]
