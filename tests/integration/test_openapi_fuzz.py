"""The OpenAPI document held against the real service by schemathesis: no answer that the document does not know, whatever is asked.

FUZZ_EXAMPLES is how many requests are made of each method and path, of those that fit the document and of those that do not.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import Failure, FailureGroup

from tests.service_process import ServiceProcess

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))
STREAMS = ("/api/v1/stream",)
"""Answers that do not end: test_state_stream and test_event_stream have them."""

load_all_checks()
HELD = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
    ]
)

TRADE = {
    "trade_id": "t",
    "user_id": "ada",
    "broker": "b",
    "symbol": "EURUSD",
    "side": "buy",
    "quantity": 1,
    "entry_price": 1,
    "exit_price": 1,
    "currency": "USD",
}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/v1/events"): {
        "specversion": "1.0",
        "id": "fuzz",
        "source": "fuzz",
        "type": "system",
        "time": "2026-03-10T12:00:00Z",
        "data": {"host": "web-1", "metrics": {"cpu_usage": 1}},
    },
    ("POST", "/api/v1/deployments"): {"service": "web", "version": "1", "environment": "production"},
    ("PATCH", "/api/v1/deployments/{id}"): {"status": "running"},
    ("POST", "/api/v1/report-schedules"): {
        "name": "fuzz",
        "type": "performance",
        "cron": "@daily",
        "recipients": [{"kind": "store"}],
        "paused": True,
    },
    ("PATCH", "/api/v1/report-schedules/{id}"): {"paused": True},
    ("PUT", "/api/v1/users/profile"): {"name": "Ada"},
    ("PATCH", "/users/{id}"): {"username": "ada"},
    ("POST", "/api/v1/organizations"): {"name": "Acme"},
    ("PATCH", "/api/v1/organizations/{organization}"): {"time_zone": "Europe/Berlin"},
    ("POST", "/api/v1/organizations/{organization}/invitations"): {"email": "ada@example.com", "role": "member"},
    ("POST", "/api/v1/api-keys"): {"name": "fuzz", "scopes": ["read"]},
}
"""A body that is taken, where what the schema allows is seldom enough: an address, a zone, a time that is not ahead."""
NEVER_DONE = {
    ("POST", "/api/auth/register"),
    ("POST", "/api/unify/v1/auth/signup"),
    ("POST", "/api/auth/login"),
    ("POST", "/api/auth/refresh"),
    ("GET", "/signin"),
    ("POST", "/api/v1/session/organization"),
    ("PATCH", "/api/v1/organizations/{organization}/members/{account}"),
    ("DELETE", "/api/v1/organizations/{organization}/members/{account}"),
    ("DELETE", "/api/v1/organizations/{organization}/invitations/{invitation}"),
    ("POST", "/api/v1/invitations/accept"),
    ("DELETE", "/api/v1/api-keys/{key}"),
    ("GET", "/api/v1/exports/{id}"),
    ("GET", "/api/v1/reports/{id}"),
    ("GET", "/api/v1/reports/{id}/progress"),
    ("DELETE", "/api/v1/reports/{id}"),
    ("GET", "/api/v1/reports/{id}/deliveries"),
    ("POST", "/api/v1/reports/{id}/deliveries/{delivery}/retry"),
    ("GET", "/api/v1/reports/{id}/download"),
    ("GET", "/page/{version}/{file}"),
    ("GET", "/ws"),
    ("GET", "/ws/dashboard"),
}
"""What needs something that only goes once, or that nobody guesses: its refusals alone are held against the document here."""


@dataclass
class Target:
    """The service, somebody who may do everything, and what there is to be put into the places of paths."""

    service: ServiceProcess
    session: requests.Session
    headers: dict[str, str]
    places: dict[str, str]
    statuses: dict[tuple[str, str], Counter[int]] = field(default_factory=dict)

    def ask(self, case: Case) -> schemathesis.Response:
        """Sends a request."""
        return case.call(
            base_url=self.service.url, session=self.session, headers=self.headers, timeout=30, allow_redirects=False
        )


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A service with some of everything in it."""
    with tempfile.TemporaryDirectory(prefix="sg-fuzz-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with ServiceProcess(Path(folder) / "data", environment={"STREAMGAUGE_COLLECT_HOST": "false"}) as service:
            status, answer, _ = service.request("/api/v1/events", list(events(datetime.now(UTC))))
            assert (status, answer["rejected"]) == (202, [])
            _, deployment, _ = service.request(
                "/api/v1/deployments", {"service": "web", "version": "1", "environment": "test"}
            )
            # One to look at, and one to be deleted.
            kept, gone = [
                service.request("/api/v1/report-schedules", BODIES["POST", "/api/v1/report-schedules"])[1]["schedule"][
                    "id"
                ]
                for _ in range(2)
            ]
            known = service.credentials
            login = {"email": known["admin_email"], "password": known["admin_password"]}
            _, token, _ = service.request("/api/auth/login", login)
            headers = {"Authorization": f"Bearer {token['access_token']}"}
            _, me, _ = service.request("/api/auth/me", headers=headers)
            places = {
                "{organization}": me["organization"]["id"],
                "deployments/{id}": deployment["id"],
                "report-schedules/{id}/runs": kept,
                "report-schedules/{id}": gone,
                "users/{id}": me["account"],
            }
            with requests.Session() as session:
                session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
                yield Target(service, session, headers, places)
            assert service.stop() == 0
            failed = [line for line in service.output if "request_failed" in line or "Traceback" in line]
            assert not failed, "".join(failed)


def events(now: datetime) -> Iterator[dict[str, Any]]:
    """Events of every kind from the last days."""
    data: dict[str, list[dict[str, Any]]] = {
        "system": [{"host": "web-1", "metrics": {"cpu_usage": 40.5, "memory_usage": 70, "active_connections": 3}}],
        "enterprise": [
            {"metrics": {"model_accuracy": 89.2, "total_comparisons": 7}},
            {"team_type": "ml", "metrics": {"average_accuracy": 1}},
        ],
        "view": [
            {"video_id": "v", "creator_id": "c", "user_id": "ada", "action": action} for action in ("view", "like")
        ],
    }
    moments = [now - timedelta(seconds=5), now - timedelta(hours=3), now - timedelta(days=2)]
    data["trade"] = [
        {**TRADE, "currency": currency, "pnl": pnl, "opened_at": "2026-01-01T00:00:00Z"}
        for currency, pnl in (("USD", "1.25"), ("USD", "-3"), ("EUR", "0.1"))
    ]
    for kind, figures in data.items():
        for number, figure in enumerate(figures):
            for moment in moments:
                time = moment.isoformat()
                more = {"trade_id": f"{number} {time}", "closed_at": time} if kind == "trade" else {}
                id_ = f"{kind} {number} {time}"
                yield {
                    "specversion": "1.0", "id": id_, "source": "fuzz", "type": kind, "time": time, "data": figure | more
                }  # fmt: skip


def likely(schema: dict[str, Any]) -> list[Any]:
    """What a parameter's schema gives as an example, or lists."""
    if schema.get("type") == "array":
        return [[one] for one in likely(schema["items"])]
    return [*schema.get("examples", ()), *schema.get("enum", ())]


@st.composite
def requests_of(draw: st.DrawFn, operation: Any, target: Target, mode: GenerationMode) -> Case:
    """A request by the document or, in the negative mode, against it.

    What a schema allows is mostly refused for what a schema cannot say, so most parameters of a good one are left out, or an example.
    """
    case: Case = draw(operation.as_strategy(generation_mode=mode))
    if mode is GenerationMode.NEGATIVE:
        return case
    for parameter in operation.definition.raw.get("parameters", ()):
        name, schema = parameter["name"], parameter["schema"]
        if parameter["in"] == "path":
            known = [
                value for place, value in target.places.items() if place in operation.path and f"{{{name}}}" in place
            ]
            if known and draw(st.integers(0, 3)) < 3:
                case.path_parameters[name] = known[0]
            continue
        way = draw(st.sampled_from(("left out", "example", "left out", "as drawn")))
        examples = likely(schema)
        if way == "example" and examples:
            case.query[name] = draw(st.sampled_from(examples))
        elif way != "as drawn":
            case.query.pop(name, None)
            if parameter["required"]:
                case.query[name] = draw(st.sampled_from(examples)) if examples else "x"
    good = BODIES.get((operation.method.upper(), operation.path))
    if good is not None and draw(st.integers(0, 3)) < 3:
        drawn = case.body if isinstance(case.body, dict) else {}
        strange = draw(st.sampled_from((None, None, *good)))
        case.body = good | ({strange: drawn[strange]} if strange in drawn else {})
        case.media_type = "application/json"
    return case


def faults(target: Target, operation: Any, mode: GenerationMode) -> Iterator[str]:
    """What is wrong with answers to requests of one operation."""
    seen = target.statuses.setdefault((operation.method.upper(), operation.path), Counter())
    found: dict[tuple[str, int], str] = {}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=requests_of(operation, target, mode))
    def held(case: Case) -> None:
        answer = target.ask(case)
        seen[answer.status_code] += 1
        # A body that is too large is refused before it is looked at; schemathesis expects another refusal.
        checks = [check for check in HELD if answer.status_code != 413 or check.__name__ != "negative_data_rejection"]
        try:
            case.validate_response(answer, checks=checks)
        except (Failure, FailureGroup) as failure:
            # All of them are to be seen, not one at a time; each once.
            found.setdefault((type(failure).__name__, answer.status_code), str(failure))

    # Without parameters there is nothing that could be against the document.
    with contextlib.suppress(hypothesis.errors.Unsatisfiable):
        held()
    for (_, status), text in found.items():
        yield f"{operation.method.upper()} {operation.path} answered {status}: {text}"


def test_no_answer_is_one_that_the_document_does_not_know(target: Target) -> None:
    with urllib.request.urlopen(target.service.url + "/openapi.json") as answer:
        schema = schemathesis.openapi.from_dict(json.load(answer))
    operations = [result.ok() for result in schema.get_all_operations()]
    wrong = [
        fault
        for operation in operations
        if operation.path not in STREAMS
        for mode in GenerationMode
        for fault in faults(target, operation, mode)
    ]
    assert not wrong, "\n\n".join(wrong)
    # Else nothing but refusals would have been held against the document.
    never = {one for one, statuses in target.statuses.items() if not any(status < 400 for status in statuses)}
    assert never <= NEVER_DONE, {one: dict(target.statuses[one]) for one in never - NEVER_DONE}


def test_who_does_not_sign_in_is_refused_as_the_document_says(target: Target) -> None:
    with urllib.request.urlopen(target.service.url + "/openapi.json") as answer:
        document = json.load(answer)
    schema = schemathesis.openapi.from_dict(document)
    for result in schema.get_all_operations():
        operation = result.ok()
        if not operation.definition.raw.get("security"):
            continue
        case = operation.Case(
            path_parameters={
                p["name"]: "x" for p in operation.definition.raw.get("parameters", ()) if p["in"] == "path"
            }
        )
        refused = case.call(base_url=target.service.url, session=target.session, timeout=30)
        assert refused.status_code == 401, (operation.method, operation.path)
        assert "WWW-Authenticate" in {name.title().replace("Www", "WWW") for name in refused.headers}
        case.validate_response(refused, checks=HELD[:5])
