"""The same fixtures as everywhere, over a TimescaleDB: what is imported here from other folders runs on hypertables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from aggregators.definitions import ROLLUPS
from storage.migrate import migrate
from tests.conftest import copied, database_of
from tests.integration.conftest import api

__all__ = ["api"]

TEMPLATE = "template_hypertables"


@pytest.fixture(scope="session")
def postgres() -> str:
    """The URL of a server with TimescaleDB."""
    return os.environ["TSDB_URL"]


@pytest.fixture(scope="session")
def template(postgres: str) -> Iterator[str]:
    """The name of a migrated, empty database of hypertables that is only ever copied."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
        migrate(database_of(postgres, TEMPLATE), ROLLUPS)
        yield TEMPLATE
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(TEMPLATE)))


@pytest.fixture
def database_url(postgres: str, template: str) -> Iterator[str]:
    """The URL of a migrated, empty database of hypertables of this test's own."""
    with copied(postgres, template) as url:
        yield url


@pytest.fixture(scope="session")
def service_database(postgres: str, template: str) -> Iterator[str]:
    """The URL of one database of hypertables for all tests of the running service."""
    with copied(postgres, template) as url:
        yield url


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """The URL of a database in which there is nothing at all, not even an extension."""
    with copied(postgres, "template0") as url:
        yield url


def rows(url: str, statement: Any, parameters: Any = None) -> list[Any]:
    """What a query answers."""
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        return connection.execute(statement, parameters).fetchall()
