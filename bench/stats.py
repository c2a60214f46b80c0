"""What `/api/v1/dashboard/stats` costs when there are 100 times as many events."""

from __future__ import annotations

import datetime as dt
import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any
from uuid import UUID

import psycopg

from api.auth.keys import mint
from bench.reading import latencies
from bench.service import Service
from bench.workload import bodies, system

TIMES = 100
_HOUR = dt.timedelta(hours=1)
_HOSTS = 10


@dataclass(frozen=True)
class StatsCost:
    """Milliseconds at the median with few events and with 100 times as many."""

    few_ms: float
    many_ms: float
    few: int


def stats_cost(service: Service, *, few: int, requests: int) -> StatsCost:
    """Two organizations with the same hosts over the same hour, one with 100 times the events of the other, asked in turn."""
    keys = [_organization(service, name) for name in ("few", "many")]
    # Ahead of now, so that the hosts are heard from all the time that this takes.
    end = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
    for key, count in zip(keys, (few, few * TIMES), strict=True):
        fill(service, key, count, end)
    asked = [(key, "/api/v1/dashboard/stats") for _ in range(requests + 5) for key in keys]
    found = latencies(service, asked)[10:]
    return StatsCost(median(found[0::2]), median(found[1::2]), few)


def fill(service: Service, key: str, count: int, end: dt.datetime) -> None:
    """Sends so many measurements of ten hosts, evenly over the hour before `end`."""
    for body in bodies(_spread(count, end)):
        post(service, key, body)


def _spread(count: int, end: dt.datetime) -> Iterator[dict[str, Any]]:
    """Measurements of ten hosts, evenly over the hour before `end`."""
    for number, event in enumerate(system(0, count)):
        host = f"web-{number % _HOSTS}"
        data = {**event["data"], "host": host}
        yield {**event, "source": f"host/{host}", "time": end - _HOUR * (count - 1 - number) / count, "data": data}


def _organization(service: Service, name: str) -> str:
    """A new organization; returns a key for it."""
    key = mint()
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        row: tuple[UUID] | None = connection.execute(
            "insert into store.organization (name) values (%s) returning id", (name,)
        ).fetchone()
        assert row is not None
        connection.execute(
            "insert into store.api_key (organization, name, prefix, digest, scopes) values (%s, 'bench', %s, %s, %s)",
            (row[0], key.prefix, key.digest, ["events:write", "read"]),
        )
    return key.text


def post(service: Service, key: str, body: bytes) -> None:
    """Sends a body of events, which must all be accepted; returns after their commit."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=60)
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/events", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 202 or b'"rejected":[]' not in text:
        raise RuntimeError(f"{answer.status} {text[:300]!r}")
