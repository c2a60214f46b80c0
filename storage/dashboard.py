"""The dashboard's reads: last values of hosts and of an organization's metrics."""

from __future__ import annotations

import datetime as dt
from typing import Any

from storage.database import AsyncConn
from storage.filled import require
from storage.named import load
from storage.rollup_query import plain_number

_QUERIES = load("dashboard")


async def last_of_hosts(
    connection: AsyncConn, since: dt.datetime, hosts: list[str] | None, metrics: list[str]
) -> list[tuple[str, float, dt.datetime]]:
    """Metric, last value and its time, a row for each host heard since then. Raises NotFilled."""
    return [(metric, value, time) for _, metric, value, time in await last_by_host(connection, since, hosts, metrics)]


async def last_by_host(
    connection: AsyncConn, since: dt.datetime, hosts: list[str] | None, metrics: list[str]
) -> list[tuple[str, str, float, dt.datetime]]:
    """The same with the host first."""
    await require(connection, "system_metrics", "1m", "last")
    parameters = {"since": since, "hosts": hosts, "metrics": metrics}
    cursor = await connection.execute(_QUERIES["last_of_hosts"], parameters)
    return [(host, metric, value, time) for host, metric, value, time in await cursor.fetchall()]


async def last_of_enterprise(connection: AsyncConn, metrics: list[str]) -> dict[str, Any]:
    """The last reported value of each metric of the whole organization; a metric never reported is absent. Raises NotFilled."""
    await require(connection, "enterprise_metrics", "1d", "last")
    cursor = await connection.execute(_QUERIES["last_of_enterprise"], {"metrics": metrics})
    return {metric: plain_number(value) for metric, value, _ in await cursor.fetchall()}


async def last_of_enterprise_before(connection: AsyncConn, metric: str, before: dt.datetime) -> Any:
    """What the whole organization reported last before a quarter of an hour; None where it had not yet. Raises NotFilled."""
    await require(connection, "enterprise_metrics", "15m", "last")
    parameters = {"metric": metric, "before": before}
    row = await (await connection.execute(_QUERIES["last_of_enterprise_before"], parameters)).fetchone()
    return None if row is None else plain_number(row[0])
