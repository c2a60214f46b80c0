"""Every question that cannot be answered gets a 400 that names the parameter, wherever it is asked."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

from tests.integration.api_service import Api

LONG = "2026-03-10T12:00:00+00:00"


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"rollup": "nothing"}, "rollup"),
    ({"rollup": "x" * 5_000}, "rollup"),
    ({"rollup": ["system_metrics", "system_metrics"]}, "rollup"),
    ({"measures": "count,median"}, "measures"),
    ({"measures": "distribution"}, "measures"),
    ({"measures": "count,count"}, "measures"),
    ({"measures": ","}, "measures"),
    ({"measures": "last_time"}, "measures"),
    ({"group_by": "organization"}, "group_by"),
    ({"group_by": "host,host"}, "group_by"),
    ({"group_by": 'host" from x; --'}, "group_by"),
    ({"filter": "organization:x"}, "filter"),
    ({"filter": "host"}, "filter"),
    ({"filter": ["host:a", "host:b"]}, "filter"),
    ({"filter": "host:" + "a," * 1_001}, "filter"),
    ({"grain": "2h"}, "grain"),
    ({"grain": "null"}, "grain"),
    ({"grain": ""}, "grain"),
    ({"grain": "1m", "rollup": "trade_pnl"}, "grain"),
    ({"grain": "5m", "rollup": "trade_pnl"}, "grain"),
    ({"grain": "1m", "measures": "p95"}, "grain"),
    ({"grain": "1m", "from": "2000-01-01", "to": "2100-01-01"}, "grain"),
    ({"tz": "Mars/Olympus"}, "tz"),
    ({"tz": "../../etc/passwd"}, "tz"),
    ({"tz": "+02:00"}, "tz"),
    ({"from": "2026-03-10", "to": "2026-03-09"}, "from"),
    ({"from": "2026-03-10", "to": "2026-03-10"}, "from"),
    ({"from": "yesterday"}, "from"),
    ({"to": "2026-02-30"}, "to"),
    ({"to": "now+1h"}, "to"),
    ({"from": "0001-01-01"}, "from"),
    ({"from": "0001-01-01", "tz": "Asia/Kathmandu"}, "from"),
    ({"to": "9999-12-31"}, "to"),
    ({"to": "9999-12-31T23:59:59-12:00"}, "to"),
    ({"from": "now-999999d"}, "from"),
    ({"from": "1999-12-31"}, "from"),
    ({"limit": 0}, "limit"),
    ({"limit": -1}, "limit"),
    ({"limit": 100_001}, "limit"),
    ({"limit": "many"}, "limit"),
    ({"limit": "1.5"}, "limit"),
    ({"fill": "one", "grain": "1h"}, "fill"),
    ({"fill": "zero"}, "fill"),
    ({"fill": "zero", "grain": "1h", "limit": 5}, "limit"),
    ({"fill": "zero", "grain": "1h", "cursor": cursor(LONG, "2026-03-11T12:00:00Z", LONG)}, "cursor"),
    ({"cursor": "!"}, "cursor"),
    ({"cursor": cursor()}, "cursor"),
    ({"cursor": cursor(1, 2, 3)}, "cursor"),
    ({"cursor": cursor("2026-03-10", LONG, "x")}, "cursor"),
    ({"cursor": cursor(LONG, "2026-03-11T12:00:00Z", "a", "b"), "group_by": "host"}, "cursor"),
    ({"cursor": cursor(LONG, "2026-03-11T12:00:00Z", "a\x00"), "group_by": "host"}, "cursor"),
    ({"cursor": cursor(LONG, "2026-03-11T12:00:00Z", "late"), "grain": "1h"}, "cursor"),
    ({"cursor": base64.urlsafe_b64encode(b'["\\ud800"]').decode()}, "cursor"),
    ({"group_by": "ho\x00st"}, "group_by"),
    ({"filter": "host:a\x00b"}, "filter"),
    ({"tz": "UTC\x00"}, "tz"),
    ({"unheard": "of"}, "unheard"),
]


async def test_a_wrong_parameter_is_named(api: Api) -> None:
    await api.send([api.system("web", cpu_usage=1)])
    for path, (parameters, name) in itertools.product(("/api/v1/query", "/api/v1/stream"), WRONG):
        asked = {"rollup": "system_metrics", **parameters}
        reply = await api.get(path, **{key + "_": value for key, value in asked.items()})
        assert (reply.status, reply.headers["Content-Type"]) == (400, "application/problem+json"), (
            parameters,
            reply.text,
        )
        assert reply.json["parameter"] == name, (parameters, reply.json)
        assert reply.json["detail"].startswith(name), reply.json
        assert len(reply.text) < 1_000
    for path in ("/api/v1/query", "/api/v1/stream"):
        assert (await api.get(path)).json["parameter"] == "rollup"


async def test_what_only_looks_odd_is_never_more_than_a_400(api: Api) -> None:
    for number in range(1, 248, 8):
        odd = bytes(range(number, number + 8)).decode("latin-1")
        for name in ("rollup", "measures", "group_by", "filter", "from", "to", "tz", "cursor"):
            asked = {"rollup": "system_metrics", name: odd}
            reply = await api.get("/api/v1/query", **{key + "_": value for key, value in asked.items()})
            assert (reply.status, reply.json["parameter"]) == (400, name), reply.text
    for path in (
        "/api/v1/query?rollup=system_metrics&filter=host:%ED%A0%80%FF",
        "/users/top?limit=%FF",
        "/users/top?%00=1",
    ):
        assert (await api.request("GET", path)).status in (200, 400)


OTHERS: list[tuple[str, dict[str, Any], str]] = [
    ("/api/v1/stream", {"mode": "pull"}, "mode"),
    ("/api/v1/stream", {"mode": "events", "type": "mail"}, "type"),
    ("/api/v1/stream", {"mode": "events", "rollup": "system_metrics"}, "rollup"),
    ("/api/v1/stream", {"mode": "events", "filter": "host"}, "filter"),
    ("/api/v1/stream", {"mode": "events", "tz": "UTC"}, "tz"),
    ("/api/v1/stream", {"leaderboard": "villains"}, "leaderboard"),
    ("/api/v1/stream", {"leaderboard": "creators", "limit": 501}, "limit"),
    ("/api/v1/stream", {"leaderboard": "creators", "rollup": "system_metrics"}, "rollup"),
    ("/api/v1/stream", {"leaderboard": "creators", "filter": "a:b"}, "filter"),
    ("/api/v1/stream", {"rollup": "system_metrics", "type": "system"}, "type"),
    ("/api/v1/stream", {"leaderboard": "creators", "window": "1h"}, "window"),
    ("/api/v1/stream", {"rollup": "system_metrics", "window": "7d"}, "window"),
    ("/api/v1/stream", {"mode": "events", "around": "ann"}, "around"),
    ("/api/v1/leaderboards/creators", {"window": "90d"}, "window"),
    ("/api/v1/leaderboards/creators", {"window": ""}, "window"),
    ("/api/v1/leaderboards/creators", {"limit": 501}, "limit"),
    ("/api/v1/leaderboards/creators", {"limit": 0}, "limit"),
    ("/api/v1/leaderboards/creators", {"offset": -1}, "offset"),
    ("/api/v1/leaderboards/creators", {"offset": 1, "around": "ann"}, "offset"),
    ("/api/v1/leaderboards/creators", {"around": ""}, "around"),
    ("/users/top", {"limit": 0}, "limit"),
    ("/users/top", {"limit": 501}, "limit"),
    ("/users/top", {"limit": "ten"}, "limit"),
    ("/users/top", {"page": 2}, "page"),
    ("/api/v1/dashboard/stats", {"host": "a\x00"}, "host"),
    ("/api/v1/dashboard/stats", {"hosts": "a"}, "hosts"),
    *(
        (f"/api/unify/v1/{path}", parameters, name)
        for path in ("metrics", "reports/pnl")
        for parameters, name in (
            ({"time_range": "8d"}, "time_range"),
            ({"time_range": "7d", "from": "2026-01-01"}, "time_range"),
            ({"from": "2026-01-02", "to": "2026-01-01"}, "from"),
            ({"from": "2026-01-01T10:00"}, "from"),
            ({"from": "0001-01-01"}, "from"),
            ({"to": "9999-12-31"}, "to"),
            ({"from": "2000-01-01", "to": "2099-12-31"}, "from"),
            ({"to": "tomorrow"}, "to"),
            ({"tz": "Berlin"}, "tz"),
            ({"symbol": ["a", "b"]}, "symbol"),
            ({"broker": "a\x00b"}, "broker"),
            ({"page": 1}, "page"),
        )
    ),
]


async def test_other_questions_are_refused_by_name_too(api: Api) -> None:
    for path, parameters, name in OTHERS:
        reply = await api.get(path, **{key + "_": value for key, value in parameters.items()})
        assert reply.status == 400, (path, parameters, reply.text)
        if path.startswith("/users"):
            assert reply.json["message"].startswith(f"{name}: "), reply.text
        else:
            assert reply.json["parameter"] == name, (path, parameters, reply.text)
            assert reply.json["detail"].startswith(name)
