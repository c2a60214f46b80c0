"""The commands around Kafka's log, as a user calls them."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from tests.integration.api_service import free_port
from tests.integration.log_processes import Deployment, deployment
from tests.integration.stored import count, found_differences, scalar
from tests.integration.test_scale_out import view, views
from tests.service_process import ROOT, wait_until


def ran(service: Deployment, *arguments: str, code: int = 0, **settings: str) -> str:
    """Runs a command to its end; returns what it said."""
    process = service.start(*arguments, **settings)
    assert process.ended(90) == code, process.text
    assert "Traceback" not in process.text, process.text
    return process.text


async def poison(kafka: str, service: Deployment, *values: bytes) -> None:
    """Writes records that nobody can count."""
    owner = json.loads((service.data / "credentials.json").read_text("utf-8"))["organization_id"]
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(
                service.environment["STREAMGAUGE_TOPIC_PREFIX"] + ".view",
                value,
                key=b"k",
                headers=[("organization", owner.encode())],
            )
    finally:
        await producer.stop()


async def test_dead_letters_are_listed_and_sent_again(kafka: str, database_url: str) -> None:
    with deployment(kafka, database_url) as service:
        service.api()
        good = json.dumps(view(7)).encode()
        await poison(kafka, service, b"nonsense", good.replace(b'"c"', b'""'))
        worker = service.start("worker", STREAMGAUGE_DEAD_LETTER_LIMIT="1")
        assert worker.ended(60) == 3
        assert "STREAMGAUGE_DEAD_LETTER_LIMIT" in worker.text
        assert "Traceback" not in worker.text
        service.worker()
        wait_until(lambda: scalar(database_url, "select count(*) from store.dead_letter") == 2, "the dead letters")
        text = ran(service, "dead-letters", "list")
        assert "data.creator_id" in text
        assert "2 wait to be sent again" in text
        lines = ran(service, "dead-letters", "list", "--reason", "creator", "--json").splitlines()
        (listed,) = [json.loads(line) for line in lines if line.startswith("{")]
        assert (listed["kind"], json.loads(listed["value"])["id"]) == ("view", "view-7")
        assert "1 sent again" in ran(service, "dead-letters", "replay", "--reason", "creator")
        assert "0 sent again" in ran(service, "dead-letters", "replay", "--reason", "no such reason")
        wait_until(
            lambda: scalar(database_url, "select count(*) from store.dead_letter where replayed_at is null") == 2,
            "the worker to put it away again",
        )
        wait_until(lambda: service.request("/health/detailed")[1]["dead_letters"] == {"waiting": 2}, "health to say so")


async def test_the_number_of_partitions_is_raised_while_events_come(kafka: str, database_url: str) -> None:
    with deployment(kafka, database_url) as service:
        service.api()
        service.worker()
        assert "multiple" in ran(service, "partitions", "view", "4", code=2)
        assert "known are" in ran(service, "partitions", "views", "6", code=2)
        assert service.request("/api/v1/events", [view(n) for n in range(100)])[0] == 202
        raising = service.start("partitions", "view", "6")
        sent, refused = 100, 0
        # Until the command has ended, and a little beyond, so that events of both numbers are there.
        while raising.process.poll() is None or sent < 400:
            status, _, headers = service.request("/api/v1/events", [view(n) for n in range(sent - 20, sent + 20)])
            if status == 202:
                sent += 20
            else:
                assert (status, int(headers["Retry-After"]) > 0) == (503, True)
                refused += 1
        assert raising.ended(30) == 0, raising.text
        assert "view has 6 partitions" in raising.text
        assert refused > 0
        wait_until(lambda: views(service) == sent, f"{sent} events to be counted", 60)
        assert count(database_url, "view") == sent
        assert "already" in ran(service, "partitions", "view", "6", code=2)
        _, health, _ = service.request("/health/detailed")
        assert len([one for one in health["log"]["partitions"] if one["kind"] == "view"]) == 6
        # A worker that starts now finds the topics as the database has them.
        service.worker()
    assert found_differences(database_url) == []


def test_health_and_metrics_tell_of_a_worker_that_is_gone(kafka: str, database_url: str) -> None:
    with deployment(kafka, database_url, STREAMGAUGE_STALL_SECONDS="1") as service:
        api = service.api()
        port = str(free_port())
        worker = service.worker(STREAMGAUGE_METRICS_PORT=port)
        service.request("/api/v1/events", [view(n) for n in range(10)])
        wait_until(lambda: views(service) == 10, "the events to be counted")

        def metrics() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())

        assert "streamgauge_events_counted_total 10.0" in metrics()
        wait_until(lambda: len(re.findall(r"streamgauge_log_lag_events{.*} 0.0", metrics())) == 12, "its partitions")
        assert "well" in ran(service, "health", STREAMGAUGE_METRICS_PORT=port)
        worker.kill()
        assert "not well" in ran(service, "health", code=1, STREAMGAUGE_METRICS_PORT=port)
        service.request("/api/v1/events", [view(99)])

        def stuck() -> Any:
            status, health, _ = service.request("/health/detailed")
            return status == 503 and health["log"]["status"] == "stuck" and health["log"]["lag"] == 1

        wait_until(stuck, "health to say that the log is stuck")
        _, health, _ = service.request("/health/detailed")
        assert not health["log"]["moving"]
        assert service.request("/health")[0] == 200
        with urllib.request.urlopen(service.url + "/metrics", timeout=5) as answer:
            text = answer.read().decode()
        assert re.search(r"streamgauge_log_lag_events{.*} 1.0", text)
        assert re.search(r"streamgauge_log_stuck_seconds{.*} [1-9]", text)
        service.worker()
        wait_until(lambda: service.request("/health/detailed")[0] == 200, "health to be well again")
        assert views(service) == 11
        assert api.stop() == 0


def test_importers_and_the_host_collector_write_straight_to_kafka(
    kafka: str, database_url: str, tmp_path: Path
) -> None:
    with deployment(kafka, database_url) as service:
        service.api()
        service.worker()
        file = tmp_path / "trades.csv"
        file.write_text((ROOT / "tests/data/freqtrade_trades.csv").read_text("utf-8"), "utf-8")
        arguments = ("import", str(file), "--as", "freqtrade", "--map", "user_id=ada", "--to", "kafka")
        for _ in range(2):
            assert "179" in ran(service, *arguments)
        wait_until(lambda: count(database_url, "trade") == 179, "the trades to be counted")
        assert "no id" in ran(service, *arguments, "--organization", "acme", code=2)
        assert "there is none" in ran(
            service, *arguments, "--organization", "00000000-0000-0000-0000-000000000001", code=2
        )
        assert "no place" in ran(service, *arguments[:-1], "pigeon", code=2)
        collector = service.start("collect", "--to", "kafka")
        wait_until(lambda: count(database_url, "system") > 1, "this host's measurements")
        assert collector.stop() == 0
        over_http = service.start("collect", "--url", service.url, "--api-key", _key(service))
        before = count(database_url, "system")
        wait_until(lambda: count(database_url, "system") > before + 1, "more of them")
        assert over_http.stop() == 0
    assert count(database_url, "trade") == 179
    assert found_differences(database_url) == []


def _key(service: Deployment) -> str:
    return str(json.loads((service.data / "credentials.json").read_text("utf-8"))["api_key"])


def test_everything_in_one_process_over_kafka(kafka: str, database_url: str) -> None:
    with deployment(kafka, database_url) as service:
        running = service.api("run", STREAMGAUGE_COLLECT_HOST="true")
        service.request("/api/v1/events", [view(n) for n in range(10)])
        wait_until(lambda: views(service) == 10, "the events to be counted")
        wait_until(lambda: count(database_url, "system") > 0, "this host's measurements")
        wait_until(lambda: service.request("/health/detailed")[0] == 200, "health")
        assert running.stop() == 0
        assert "Traceback" not in running.text


def test_what_is_missing_is_said_in_one_line(kafka: str, database_url: str) -> None:
    with deployment(kafka, database_url) as service:
        assert "DATABASE_URL" in ran(service, "worker", code=2, DATABASE_URL="")
        assert "KAFKA_BOOTSTRAP_SERVERS" in ran(service, "worker", code=2, KAFKA_BOOTSTRAP_SERVERS="")
        assert "DATABASE_URL" in ran(service, "scheduler", code=2, DATABASE_URL="")
        assert "KAFKA_BOOTSTRAP_SERVERS" in ran(service, "dead-letters", "replay", code=2, KAFKA_BOOTSTRAP_SERVERS="")


def test_an_api_process_starts_and_reads_without_a_broker(database_url: str) -> None:
    """And takes events as soon as there is one: tests/integration/test_kafka_log.py."""
    with deployment("127.0.0.1:1", database_url, STREAMGAUGE_LOG_FORMAT="json") as service:
        api = service.api()
        assert service.request("/health")[0] == 200
        status, answer, headers = service.request("/api/v1/events", [view(1)])
        assert (status, "Kafka" in answer["detail"], int(headers["Retry-After"]) > 0) == (503, True, True)
        assert views(service) == 0
        status, health, _ = service.request("/health/detailed")
        assert (status, health["log"]["status"], health["database"]["status"]) == (503, "down", "ok")
        worker = service.start("worker")
        worker.says("kafka_awaited")
        assert worker.stop() == 0
        assert api.stop() == 0
        for line in worker.text.splitlines() + [one for one in api.text.splitlines() if one.startswith("{")]:
            assert json.loads(line)["event"]
