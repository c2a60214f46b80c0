"""Archiving in a process of its own that is killed at a step: `python -m tests.integration.archive_process URL FOLDER STEP`.

A step is `name:number`, the number counting from 1: the process dies where that function is called so often, before it does anything.
With `:freeze` behind it the process stops there instead, until it is continued.
"""

from __future__ import annotations

import datetime as dt
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage import archive, archive_parquet, archive_write

STEPS: dict[str, tuple[Any, str]] = {
    "mark": (archive, "sync"),
    "mend": (archive.Archive, "mend"),
    "piece": (archive_parquet.ParquetFile, "add"),
    "join": (archive_parquet.ParquetFile, "_join"),
    "sync": (archive_parquet, "sync"),
    "publish": (archive_parquet.ParquetFile, "_publish"),
    "read_back": (archive_parquet, "summary"),
    "digest": (archive_parquet, "sha256_of"),
    "books": (archive_write, "asdict"),
}


def deadly(real: Callable[..., Any], number: int, sent: signal.Signals) -> Callable[..., Any]:
    """The function, which sends its process a signal at its call of that number."""
    calls = 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), sent)
        return real(*arguments, **named)

    return called


def main(url: str, folder: str, step: str) -> None:
    """Archives everything before April 2026. `full` stands for a disk on which no file may have more than 2,000 bytes."""
    if step == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    else:
        name, number, *freeze = step.split(":")
        owner, attribute = STEPS[name]
        sent = signal.SIGSTOP if freeze else signal.SIGKILL
        setattr(owner, attribute, deadly(getattr(owner, attribute), int(number), sent))
    found = archive_write.archive_days(url, archive.Archive(Path(folder)), dt.date(2026, 4, 1))
    print(found.problem, found.rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
