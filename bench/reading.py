"""Latency of reads, as a client on this machine sees it."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence

from bench.service import Service


def latencies(service: Service, requests: Sequence[tuple[str, str]]) -> list[float]:
    """Milliseconds of each GET, one after the other over one connection; a request is a key and a path. All must answer 200."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    found = []
    for key, path in requests:
        started = time.perf_counter()
        connection.request("GET", path, headers={"X-API-Key": key})
        answer = connection.getresponse()
        body = answer.read()
        found.append(1e3 * (time.perf_counter() - started))
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
    connection.close()
    return found
