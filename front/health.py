"""`streamgauge health`: for a container's health check."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request

from rich.console import Console
from rich.markup import escape

from front.settings import Settings

_BEAT = re.compile(r"^streamgauge_worker_beat_timestamp_seconds ([0-9.e+]+)$", re.MULTILINE)
_OLDEST_BEAT_S = 30.0
_TIMEOUT_S = 4.0


def health_command(settings: Settings, console: Console) -> int:
    """Returns 0 where the process that these settings are of is well, else 1 and says what is wrong."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  (where to ask, not to listen)
    try:
        if settings.metrics_port is None:
            _get(f"http://{host}:{settings.port}/health")
        else:
            _check_beat(_get(f"http://{host}:{settings.metrics_port}/metrics"))
    except (OSError, urllib.error.URLError, ValueError) as error:
        console.print(f"[bold red]not well[/] {escape(str(error))}")
        return 1
    console.print("well")
    return 0


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310  (always http)
        return str(answer.read().decode())


def _check_beat(metrics: str) -> None:
    """Raises ValueError where a worker's loop has stood still. Other processes have no beat, and are well when they answer."""
    found = _BEAT.search(metrics)
    if found is not None and float(found[1]) and time.time() - float(found[1]) > _OLDEST_BEAT_S:
        raise ValueError(f"the worker's loop has stood still for {time.time() - float(found[1]):.0f} s")
