"""An installation for each test, over a broker and a database server that all of these tests share and may kill."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import sql

from aggregators.definitions import ROLLUPS
from storage.migrate import migrate
from tests.chaos.cluster import Cluster, cluster
from tests.conftest import copied, database_of
from tests.servers.fixtures import KAFKA, TIMESCALE, had
from tests.servers.kafka import own_broker
from tests.servers.server import Server
from tests.servers.timescale import own_timescale

SEED = int(os.environ.get("CHAOS_SEED", "20261124"))
"""Walks start from it; another one takes another way."""
SECONDS = float(os.environ.get("CHAOS_SECONDS", "600"))
"""Of the long walk over Kafka."""


@pytest.fixture(scope="package")
def shared_database(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A database server that tests here may kill."""
    with ExitStack() as stack:
        yield had(pytestconfig, TIMESCALE, lambda: stack.enter_context(own_timescale()))


@pytest.fixture(scope="package")
def shared_broker(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A broker that tests here may kill."""
    with ExitStack() as stack:
        yield had(pytestconfig, KAFKA, lambda: stack.enter_context(own_broker()))


@pytest.fixture(scope="package")
def chaos_template(shared_database: Server) -> str:
    """The name of a migrated, empty database that is only ever copied."""
    with psycopg.connect(shared_database.address, autocommit=True) as connection:
        connection.execute("create database chaos_template")
    url = database_of(shared_database.address, "chaos_template")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create extension timescaledb")
    migrate(url, ROLLUPS)
    with psycopg.connect(shared_database.address, autocommit=True) as connection:
        connection.execute(sql.SQL("alter database chaos_template with allow_connections false"))
    return "chaos_template"


@pytest.fixture
def direct(shared_database: Server, chaos_template: str) -> Iterator[Cluster]:
    """An installation whose log is the direct one."""
    with (
        copied(shared_database.address, chaos_template) as url,
        cluster(shared_database, url, None) as made,
    ):
        made.start_all()
        yield made


@pytest.fixture
def scaled(shared_database: Server, shared_broker: Server, chaos_template: str) -> Iterator[Cluster]:
    """An installation whose log is Kafka: an API and two workers."""
    with (
        copied(shared_database.address, chaos_template) as url,
        cluster(shared_database, url, shared_broker) as made,
    ):
        made.start_all()
        yield made


@pytest.fixture(params=["direct", pytest.param("scaled", marks=pytest.mark.chaos)])
def installation(request: pytest.FixtureRequest) -> Cluster:
    """Either of them."""
    found: Cluster = request.getfixturevalue(request.param)
    return found
