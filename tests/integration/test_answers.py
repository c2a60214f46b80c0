"""What every answer has: freshness and ETag, request id and time, problem details that give nothing away, and its documentation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from api.app import all_routes
from storage.database import StorageFault
from tests.integration.api_service import NOON, Api

FRESH = (
    "/api/v1/query?rollup=system_metrics&to=2026-03-11",
    "/api/v1/query?rollup=system_metrics&group_by=host&grain=1h&from=2026-03-10&to=2026-03-11&tz=Asia/Kolkata",
    "/api/v1/dashboard/stats",
    "/api/v1/dashboard/analytics?timeRange=24h&tz=Asia/Kolkata",
    "/api/v1/enterprise/metrics?timeRange=7d",
    "/api/v1/metrics",
    "/api/unify/v1/metrics",
    "/api/unify/v1/reports/pnl",
    "/api/unify/v1/analytics/trades?group_by=symbol&recent=5",
    "/api/unify/v1/analytics/strategies?starting_equity=100",
    "/users/top",
)


async def send_one_of_each(api: Api) -> None:
    await api.send(
        [api.system("web", cpu_usage=1), api.enterprise(green_score=5), api.trade(NOON, "1"), api.view("like")]
    )


async def test_an_answer_that_is_known_is_not_sent_again(api: Api) -> None:
    await send_one_of_each(api)
    for path in FRESH:
        await known_once(api, path)


async def known_once(api: Api, path: str) -> None:
    first = await api.request("GET", path)
    assert (first.status, first.headers["Cache-Control"]) == (200, "private, no-cache")
    as_of = datetime.fromisoformat(first.headers["X-As-Of"])
    assert as_of >= api.clock.now
    for tag in (first.headers["ETag"], f'"other", W/{first.headers["ETag"]}', "*"):
        again = await api.request("GET", path, headers={"If-None-Match": tag})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        assert datetime.fromisoformat(again.headers["X-As-Of"]) >= as_of
        assert again.headers["X-Request-ID"]
    assert (await api.request("GET", path, headers={"If-None-Match": '"other"'})).body == first.body
    # The next event of the kind changes the answer and its tag.
    await api.send(
        [api.system("web", cpu_usage=100), api.enterprise(green_score=6), api.trade(NOON, "2"), api.view("view")]
    )
    changed = await api.request("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status, changed.headers["ETag"] != first.headers["ETag"]) == (200, True)


async def test_as_of_in_the_body_is_the_last_commit(api: Api) -> None:
    await send_one_of_each(api)
    before = (await api.query("system_metrics")).json["as_of"]
    assert (await api.query("system_metrics")).json["as_of"] == before
    await api.send([api.system("web", cpu_usage=1)])
    after = (await api.query("system_metrics")).json["as_of"]
    assert datetime.fromisoformat(after) > datetime.fromisoformat(before)


async def test_every_answer_says_which_request_it_answers_and_how_long_that_took(api: Api) -> None:
    for path in ("/health", "/docs", "/openapi.json", "/api/v1/query", "/nothing/here", *FRESH):
        await marked(api, path)
    async with api.stream(mode="events", headers={"X-Request-ID": "a-stream"}) as stream:
        assert stream.answer.headers["X-Request-ID"] == "a-stream"
        assert stream.answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"


async def marked(api: Api, path: str) -> None:
    reply = await api.request("GET", path, headers={"X-Request-ID": "my-request:1"})
    assert reply.headers["X-Request-ID"] == "my-request:1"
    assert 0 <= float(reply.headers["X-Process-Time"]) < 10
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Server"] == "streamgauge"
    for bad in ("a b", "<script>", "x" * 129):
        made = (await api.request("GET", path, headers={"X-Request-ID": bad})).headers["X-Request-ID"]
        assert made != bad
        assert len(made) == 16


async def test_what_is_not_there_and_what_is_not_taken(api: Api) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/querys", 404),
        ("GET", "/api/v1/query/", 404),
        ("GET", "/..%2f..%2fetc/passwd", 404),
        ("POST", "/api/v1/query", 405),
        ("DELETE", "/api/v1/events", 405),
        ("PUT", "/api/v1/users/profiles", 404),
    ):
        reply = await api.request(method, path)
        assert (reply.status, reply.headers["Content-Type"]) == (status, "application/problem+json"), path
        assert (reply.json["status"], set(reply.json)) == (status, {"title", "status", "detail"})
    assert (await api.request("DELETE", "/api/v1/events")).headers["Allow"] == "POST"


async def test_a_defect_of_ours_gives_nothing_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "relation store.secret at /home/me/storage.py does not exist"

    def failing(error: Exception) -> Callable[..., Awaitable[Any]]:
        async def fail(*_: Any, **__: Any) -> Any:
            raise error

        return fail

    for error in (RuntimeError(secret), StorageFault(secret)):
        monkeypatch.setattr("api.query.answer", failing(error))
        reply = await api.query("system_metrics", headers={"X-Request-ID": "look-me-up"})
        assert (reply.status, reply.headers["Content-Type"]) == (500, "application/problem+json")
        assert "look-me-up" in reply.json["detail"]
        assert not any(word in reply.text for word in ("secret", "storage", "Error", "Traceback"))
    assert (await api.get("/health")).status == 200


async def test_a_statement_that_takes_too_long_is_ended_and_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(connection: Any, *_: Any) -> Any:
        await connection.execute("set local statement_timeout = 20")
        await connection.execute("select pg_sleep(30)")

    monkeypatch.setattr("api.query.answer", slow)
    reply = await api.query("system_metrics")
    assert (reply.status, reply.json["title"]) == (504, "Took too long")
    assert "sleep" not in reply.text


async def test_a_database_that_is_away_is_told_with_a_time_to_come_back(api: Api) -> None:
    await api.services.database.close()
    for path in (*FRESH[:1], "/users/top"):
        reply = await api.request("GET", path)
        assert (reply.status, reply.headers["Retry-After"]) == (503, "2")
        assert "psycopg" not in reply.text.lower()
    assert (await api.request("GET", "/health")).json == {"status": "down", "database": "unreachable"}


async def test_the_openapi_document_is_valid_and_lists_every_route(api: Api) -> None:
    reply = await api.get("/openapi.json")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    document = reply.json
    validate(document)
    listed = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert listed == {(route.method, route.path) for route in all_routes(api.services)}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], (method, path)
            assert any(status < "400" for status in operation["responses"])
    query = document["paths"]["/api/v1/query"]["get"]
    assert {"rollup", "from", "to", "tz", "group_by", "filter"} <= {
        parameter["name"] for parameter in query["parameters"]
    }
    assert [p["name"] for p in query["parameters"] if p["required"]] == ["rollup"]


async def test_the_documentation_page_shows_every_route(api: Api) -> None:
    reply = await api.get("/docs")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for route in all_routes(api.services):
        if route.tags:
            assert f"<code>{route.path}</code>" in reply.text
    assert "<script" not in reply.text
    assert (await api.get("/docs.css")).headers["Content-Type"].startswith("text/css")


async def test_the_services_own_figures_are_prometheus_text(api: Api) -> None:
    await send_one_of_each(api)
    await api.post(b"[{}]")
    assert (await api.get("/users/top")).status == 200
    reply = await api.get("/metrics")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }
    assert samples["streamgauge_events_accepted_total", (("kind", "trade"),)] == 1
    assert samples["streamgauge_events_counted_total", ()] == 4
    assert samples["streamgauge_events_rejected_total", (("stage", "contract"),)] == 1
    assert samples["streamgauge_queue_events", ()] == 0
    route = (("method", "GET"), ("route", "/users/top"), ("status", "200"))
    assert samples["streamgauge_http_request_seconds_count", route] == 1
    assert str(api.organization) not in reply.text


async def test_reading_needs_a_credential_and_health_does_not(api: Api) -> None:
    anonymous = {"Authorization": "Bearer sg_aaaaaaaa_" + "a" * 43}
    for path in FRESH:
        reply = await api.request("GET", path, headers=anonymous)
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await api.request("GET", "/health", headers=anonymous)).json == {"status": "ok", "database": "ok"}
    del api.headers["Authorization"]
    api.clock.now += timedelta(minutes=1)
    for path in FRESH:
        assert (await api.request("GET", path)).status == 401
    assert (await api.request("GET", "/health")).status == 200
