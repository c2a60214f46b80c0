"""Reads beside tables as large as 100 million events leave them, with no answer kept: each question is asked of the database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from aggregators.calendar import midnight, zone
from aggregators.definitions.enterprise import ENTERPRISE_METRICS
from aggregators.definitions.system import SYSTEM_METRICS
from aggregators.definitions.trade import TRADE_PNL
from aggregators.engine import columns
from bench.leaderboard import fill_boards, seen_on_the_boards
from bench.reading import latencies
from bench.service import Service
from bench.year import store_month
from storage.rollup_sql import table

LIMIT_MS = 20.0
"""What the 95th percentile of each question must stay under."""
WITHOUT_CACHE = {"STREAMGAUGE_CACHE_ENTRIES": "0"}
"""The service's settings: its own figures of requests would be in the system's tables."""

_HOSTS, _USERS = 200, 5_000
_KEPT_DAYS = {"1m": 2, "15m": 30, "1h": 90, "1d": 90}
"""How far back each grain of the hosts goes: all questions of more days are answered from coarser ones."""
_WHOLE_USERS = 50
"""Of so many users there is a year of quarters of an hour, as zones other than UTC need; of the others a month."""

# Of one host's month that the engine rolled up: every host, and the months before. A row keeps its own sketches.
_HOST_ROWS = SQL(
    "insert into {table} ({columns}) select {selected} from {table} as t"
    " cross join generate_series(0, {hosts} - 1) as host_number cross join generate_series(0, 2) as month"
    " where organization = {organization} and host = 'host-0' and (host_number, month) <> (0, 0)"
    " and bucket - month * interval '720 hours' >= {since} order by month desc, bucket, host_number, metric"
)
# Two of 200 symbols a user and day, seven trades each.
_TRADES = SQL(
    "insert into {table} (organization, bucket, user_id, broker, symbol, strategy, currency, trades, wins, losses,"
    " pnl, fees, net, profit, loss, best, worst, held_us)"
    " select {organization}, {today} - day * interval '24 hours' + piece * interval '90 minutes', 'user-' || who, 'broker-' || who % 4,"
    " 'symbol-' || (who * 7 + day * 13 + part * 31) % 200, 'strategy-' || who % 20, 'USD', {each}, {each} / 2, {each} - {each} / 2,"
    " net + 1, 1, net, greatest(net, 0) + 50, greatest(-net, 0) + 50, 25, -25, 3600000000 * {each}"
    " from (select day, who, part, piece, round((random() * 100 - 48)::numeric, 2) as net"
    "  from generate_series(0, {days} - 1) as day cross join generate_series({first}, {users} - 1) as who"
    "  cross join generate_series(0, 1) as part cross join generate_series(0, {pieces} - 1) as piece) as result"
    " order by day desc, piece, who"
)
_REPORTS = SQL(
    "insert into {table} (organization, bucket, team_type, metric, count, sum, min, max, last, last_time, last_source, last_id)"
    " select {organization}, time, team, metric, 1, value, value, value, value, time, 'bench', 'bench'"
    " from generate_series({today} - make_interval(hours => 24 * {days}), {today} + interval '23 hours', {width}) as time"
    " cross join unnest({metrics}::text[]) as metric cross join unnest(array['', 'ml']) as team"
    " cross join lateral (select round((random() * 100)::numeric, 2) as value) as drawn order by time, team, metric"
)
_METRICS = [
    "model_accuracy",
    "processing_speed",
    "system_uptime",
    "success_rate",
    "response_time",
    "queue_length",
    "concurrent_comparisons",
    "data_throughput",
    "total_comparisons",
    "active_users",
    "models_uploaded",
    "revenue_generated",
    "cost_savings",
    "customer_satisfaction",
    "green_score",
    "energy_efficiency",
    "queries_per_second",
    "error_rate",
    "models_deployed",
    "inference_requests",
    "api_requests",
    "uptime",
]
_HOST_METRICS = (
    "cpu_usage memory_usage gpu_usage network_latency active_connections response_time error_rate queue_length"
)

_Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True)
class Question:
    """What is asked, and the path of each of several requests for it."""

    name: str
    path: Callable[[int], str]


@dataclass(frozen=True)
class Asked:
    """Milliseconds of a question at the median and at the 95th percentile."""

    name: str
    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class LargeTables:
    """Every question's figures, and the size of what they were asked of."""

    asked: list[Asked]
    rows: int
    gigabytes: float


def large_tables(service: Service, *, share: float, requests: int) -> LargeTables:
    """Fills the rollups with `share` of the hosts, users and creators, then asks each question so many times."""
    today = midnight(dt.datetime.now(dt.UTC).date(), zone("UTC"))
    hosts, users = max(4, int(_HOSTS * share)), max(_WHOLE_USERS, int(_USERS * share))
    with psycopg.connect(service.database_url, autocommit=True, options="-c timezone=UTC") as connection:
        connection.execute("set synchronous_commit = off")
        connection.execute("set work_mem = '256MB'")
        rows = sum(_hosts(connection, service, today, hosts))
        rows += sum(_trades(connection, service, today, users))
        rows += sum(_reports(connection, service, today))
        rows += fill_boards(connection, service, int(3_000 * share) + 100, int(300_000 * share) + 1_000)
        connection.execute("vacuum analyze")
        seen_on_the_boards(service)
        size = connection.execute("select pg_database_size(current_database()) / 1e9::float8").fetchone()
    found = []
    for question in _questions(today, hosts, users):
        paths = [(service.key, question.path(number)) for number in range(requests + 5)]
        measured = latencies(service, paths)[5:]
        found.append(Asked(question.name, median(measured), quantiles(measured, n=20)[-1]))
    return LargeTables(found, rows, float(str(size[0])) if size is not None else 0.0)


def _questions(today: dt.datetime, hosts: int, users: int) -> Iterator[Question]:
    """The dashboards' own, and those that anybody asks. Days end with today."""
    query, trades = "/api/v1/query?rollup=system_metrics", "/api/unify/v1"
    yesterday, ninety = (str((today - dt.timedelta(days=days)).date()) for days in (1, 89))
    one = "&measures=avg,max,p95&group_by=host&filter=metric:cpu_usage&filter=host:host-"
    yield Question("dashboard/stats", lambda _: "/api/v1/dashboard/stats")
    yield Question("metrics", lambda _: "/api/v1/metrics")
    yield Question("dashboard/analytics, 90d", lambda _: "/api/v1/dashboard/analytics?timeRange=90d")
    yield Question(
        "dashboard/analytics, 90d, Kathmandu", lambda _: "/api/v1/dashboard/analytics?timeRange=90d&tz=Asia/Kathmandu"
    )
    yield Question("enterprise/metrics, 90d", lambda _: "/api/v1/enterprise/metrics?timeRange=90d")
    yield Question(
        "query, a host's day by hour", lambda n: f"{query}{one}{n % hosts}&grain=1h&from={yesterday}&to={today.date()}"
    )
    yield Question(
        "query, a host's 90 days by day", lambda n: f"{query}{one}{n % hosts}&grain=1d&from={ninety}&to={today.date()}"
    )
    every = "&measures=avg,max&filter=metric:cpu_usage"
    yield Question(
        "query, all hosts together, a day by hour",
        lambda _: f"{query}{every}&grain=1h&from={yesterday}&to={today.date()}",
    )
    yield Question(
        "query, all hosts together, 90 days by day",
        lambda _: f"{query}{every}&grain=1d&from={ninety}&to={today.date()}",
    )
    for days in (30, 365):
        for path in ("metrics", "reports/pnl", "analytics/strategies"):
            mine = f"{trades}/{path}?time_range={days}d&user_id=user-"
            yield Question(f"{path} of one user, {days}d", lambda n, asked=mine: f"{asked}{n % users}")  # type: ignore[misc]
    berlin = f"{trades}/reports/pnl?time_range=365d&tz=Europe/Berlin&user_id=user-"
    yield Question("reports/pnl of one user, 365d, Berlin", lambda n: f"{berlin}{n % _WHOLE_USERS}")
    yield Question("reports/pnl of everybody, 30d", lambda _: f"{trades}/reports/pnl?time_range=30d")
    yield Question("metrics of everybody, 7d", lambda _: f"{trades}/metrics?time_range=7d")
    yield Question("leaderboards/creators, 24h", lambda _: "/api/v1/leaderboards/creators?window=24h")
    yield Question("users/top", lambda _: "/users/top?limit=100")


def _hosts(connection: _Connection, service: Service, today: dt.datetime, hosts: int) -> Iterator[int]:
    """A month of one host by the engine, multiplied."""
    first = today - dt.timedelta(days=29)
    store_month(connection, service.organization, first, _HOST_METRICS.split())
    for grain, days in _KEPT_DAYS.items():
        into, names = table(SYSTEM_METRICS, grain), columns(SYSTEM_METRICS, grain)
        since = Literal(today - dt.timedelta(days=days - 1))
        shifted = {
            "host": SQL("'host-' || host_number"),
            "bucket": SQL("bucket - month * interval '720 hours'"),
            "last_time": SQL("last_time - month * interval '720 hours'"),
        }
        # What is older than this grain is kept, and the hours of today that are still to come: nobody could have sent them.
        connection.execute(
            SQL("delete from {} where organization = {} and (bucket < {} or bucket > now())").format(
                into, Literal(service.organization), since
            )
        )
        yield connection.execute(
            _HOST_ROWS.format(
                table=into,
                columns=SQL(", ").join(map(Identifier, names)),
                selected=SQL(", ").join(shifted.get(name, Identifier("t", name)) for name in names),
                hosts=Literal(hosts),
                organization=Literal(service.organization),
                since=since,
            )
        ).rowcount


def _trades(connection: _Connection, service: Service, today: dt.datetime, users: int) -> Iterator[int]:
    connection.execute("select setseed(0.5)")
    for grain, days, first, last, pieces, each in (
        ("1d", 365, 0, users, 1, 7),
        ("15m", 365, 0, _WHOLE_USERS, 7, 1),
        ("15m", 30, _WHOLE_USERS, users, 7, 1),
    ):
        yield connection.execute(
            _TRADES.format(
                table=table(TRADE_PNL, grain),
                organization=Literal(service.organization),
                today=Literal(today),
                days=Literal(days),
                first=Literal(first),
                users=Literal(last),
                pieces=Literal(pieces),
                each=Literal(each),
            )
        ).rowcount


def _reports(connection: _Connection, service: Service, today: dt.datetime) -> Iterator[int]:
    widths = {"1m": (2, 1), "15m": (90, 15), "1h": (90, 60), "1d": (90, 1_440)}
    for grain, (days, minutes) in widths.items():
        yield connection.execute(
            _REPORTS.format(
                table=table(ENTERPRISE_METRICS, grain),
                organization=Literal(service.organization),
                today=Literal(today),
                days=Literal(days),
                width=Literal(dt.timedelta(minutes=minutes)),
                metrics=Literal(_METRICS),
            )
        ).rowcount
