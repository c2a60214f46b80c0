"""The fixtures that hand servers to tests: one for the whole run, or one that a test may kill.

What a run needs is fetched before its first test. Where a server cannot be had, the tests that need it are skipped, and the run
says so in one line; with CI=true they fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

import pytest

from tests.servers import kafka as kafka_servers
from tests.servers import redis_server as redis_servers
from tests.servers import timescale as timescale_servers
from tests.servers.missing import ServerMissingError
from tests.servers.server import Server

KAFKA, TIMESCALE, REDIS, POPPLER = "Apache Kafka", "TimescaleDB", "Redis", "pdftotext"
CANNOT = "cannot be had here"
_WHY = pytest.StashKey[dict[str, str]]()

T = TypeVar("T")


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[str]:
    """HOST:PORT of a broker that the whole run shares: a test has topics of its own, which a prefix tells apart."""
    with ExitStack() as stack:
        yield had(
            pytestconfig,
            KAFKA,
            lambda: kafka_servers.given_address() or stack.enter_context(kafka_servers.own_broker()).address,
        )


@pytest.fixture
def kafka_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A broker of this test's own, which it may stop, kill and start again."""
    with ExitStack() as stack:
        yield had(pytestconfig, KAFKA, lambda: stack.enter_context(kafka_servers.own_broker()))


@pytest.fixture(scope="session")
def timescale(pytestconfig: pytest.Config) -> Iterator[str]:
    """The URL of the superuser of a server that has TimescaleDB's extension to give; for the whole run."""
    with ExitStack() as stack:
        yield had(
            pytestconfig,
            TIMESCALE,
            lambda: timescale_servers.given_url() or stack.enter_context(timescale_servers.own_timescale()).address,
        )


@pytest.fixture
def timescale_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A server of this test's own, which it may stop, kill and start again."""
    with ExitStack() as stack:
        yield had(pytestconfig, TIMESCALE, lambda: stack.enter_context(timescale_servers.own_timescale()))


@pytest.fixture(scope="session")
def redis(pytestconfig: pytest.Config) -> Iterator[str]:
    """The URL of a Redis for the whole run: what tests keep there is told apart by their organizations."""
    with ExitStack() as stack:
        yield had(
            pytestconfig,
            REDIS,
            lambda: redis_servers.given_url() or stack.enter_context(redis_servers.own_redis()).address,
        )


@pytest.fixture
def redis_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A Redis of this test's own, which it may stop, freeze and start again."""
    with ExitStack() as stack:
        yield had(pytestconfig, REDIS, lambda: stack.enter_context(redis_servers.own_redis()))


def had(config: pytest.Config, name: str, get: Callable[[], T]) -> T:
    """The server that `get` starts; where it cannot be had, the test is skipped, or fails with CI=true."""
    why = config.stash.setdefault(_WHY, {})
    if name not in why:
        try:
            return get()
        except ServerMissingError as error:
            why[name] = str(error)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} {CANNOT}: {why[name]}", pytrace=False)
    pytest.skip(f"{name} {CANNOT}: {why[name]}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetches what the collected tests need: this may take longer than a test may."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    capture = session.config.pluginmanager.getplugin("capturemanager")
    if session.config.option.collectonly or capture is None:
        return
    needs = (
        (KAFKA, kafka_servers.VARIABLE, "kafka", {"kafka_server", "shared_broker"}, kafka_servers.prepare),
        (
            TIMESCALE,
            timescale_servers.VARIABLE,
            "timescale",
            {"timescale_server", "shared_database"},
            timescale_servers.prepare,
        ),
        (REDIS, redis_servers.VARIABLE, "redis", {"redis_server"}, redis_servers.prepare),
    )
    for name, variable, shared, own, prepare in needs:
        if wanted & own or (shared in wanted and not os.environ.get(variable)):
            try:
                with capture.global_and_fixture_disabled():
                    prepare()
            except ServerMissingError as error:
                session.config.stash.setdefault(_WHY, {})[name] = str(error)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each server that is missing. The reports tell of it, since tests may have run in other processes."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for name in (KAFKA, TIMESCALE, REDIS, POPPLER):
        why = [text.partition(f"{name} {CANNOT}: ")[2] for text in skipped if f"{name} {CANNOT}" in text]
        if why:
            reason = why[0].rstrip("')")
            terminalreporter.write_line(
                f"NOT RUN: {len(why)} tests, which need {name}: it {CANNOT}: {reason}", red=True
            )
