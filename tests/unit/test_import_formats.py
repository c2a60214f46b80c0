"""What each format makes of a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest.collectors.importers import BadMapping
from ingest.collectors.importers.access_log import AccessLogImporter
from ingest.collectors.importers.ndjson import NdjsonImporter
from ingest.collectors.importers.row import BadRow, Job, Row
from ingest.collectors.importers.table import TableImporter

COMBINED = '10.0.0.7 - ada [17/May/2015:10:05:03 +0200] "GET /a HTTP/1.1" 200 203023 "http://x/" "curl/8"'


def access(line: str, **mapping: str) -> dict[str, Any]:
    return AccessLogImporter(Job(Path("access.log"), "d" * 64, mapping, None)).event(Row(1, 1, line, line))


def cloud_event(line: str) -> dict[str, Any]:
    return NdjsonImporter(Job(Path("events.ndjson"), "d" * 64, {}, None)).event(Row(1, 1, line, line))


def test_a_request_is_counted_with_its_size() -> None:
    assert access(COMBINED) == {
        "type": "system",
        "time": "2015-05-17T08:05:03Z",
        "data": {"host": "access-log", "metrics": {"requests": 1, "response_size": 203023, "error_rate": 0}},
    }


@pytest.mark.parametrize(("status", "rate"), [("200", 0), ("404", 0), ("499", 0), ("500", 100), ("503", 100)])
def test_an_error_is_the_servers(status: str, rate: int) -> None:
    assert access(COMBINED.replace(" 200 ", f" {status} "))["data"]["metrics"]["error_rate"] == rate


@pytest.mark.parametrize(
    "line",
    [
        COMBINED.replace("203023", "-"),
        '10.0.0.7 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.0" 200 0',
        '10.0.0.7 - - [17/May/2015:10:05:03 +0000] "GET /\\"quoted\\" HTTP/1.0" 200 0 "-" "cut off in the mid',
        '10.0.0.7 - - [17/May/2015:10:05:03 +0000] "\\x16\\x03\\x01" 400 0 "-" "-"',
        '::1 - a user with spaces [17/May/2015:10:05:03 +0000] "" 408 0',
    ],
)
def test_the_oddities_of_real_logs_still_count(line: str) -> None:
    assert access(line)["data"]["metrics"] == {"requests": 1, "response_size": 0, "error_rate": 0}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "hello",
        COMBINED.replace("May", "Mai"),
        COMBINED.replace("17/", "31/Feb/2015:"),
        COMBINED.replace("17/May", "31/Feb"),
    ],
)
def test_what_is_no_request_is_refused(line: str) -> None:
    with pytest.raises(BadRow, match="is no"):
        access(line)


def test_the_host_may_be_a_constant_or_a_column() -> None:
    assert access(COMBINED, host="web-1")["data"]["host"] == "web-1"
    assert access(COMBINED, host="client")["data"]["host"] == "10.0.0.7"
    with pytest.raises(BadMapping, match="is no field"):
        access(COMBINED, metric="x")


def test_a_cloud_event_keeps_its_data_to_the_last_digit() -> None:
    line = '{"specversion":"1.0","type":"trade","id":"x","time":"2026-01-05T10:00:00Z","data":{"pnl":0.1234567890123456789}}'
    event = cloud_event(line)
    assert (event["type"], event["time"]) == ("trade", "2026-01-05T10:00:00Z")
    assert bytes(event["data"]) == b'{"pnl":0.1234567890123456789}'


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        '{"type":"system"}',
        '{"specversion":"0.3","type":"system"}',
        '{"specversion":"1.0","type":"x"}',
        "[" * 5_000,
    ],
)
def test_a_line_that_is_no_cloud_event_is_refused(line: str) -> None:
    with pytest.raises(BadRow):
        cloud_event(line)


def test_a_table_needs_a_kind_and_plain_objects_need_one_too() -> None:
    with pytest.raises(BadMapping, match="--type is needed"):
        TableImporter(Job(Path("a.csv"), "", {}, None))
    with pytest.raises(BadMapping, match="--type sistem"):
        TableImporter(Job(Path("a.csv"), "", {}, "sistem"))
    with pytest.raises(BadMapping, match="--type KIND"):
        NdjsonImporter(Job(Path("a.ndjson"), "", {"host": "a"}, None))
