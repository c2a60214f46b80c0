"""The running service, for the tests of what it promises over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg import sql

from storage.database import Database
from tests.conftest import database_of
from tests.integration.api_service import NOON, Api, running
from tests.integration.archived import folder
from tests.integration.two_sides import sides

__all__ = ["folder", "sides"]

# It is nothing but assertions: a failure is to show both sides, as in a test.
pytest.register_assert_rewrite("tests.integration.trade_checks")


@pytest.fixture(scope="session")
def service_database(postgres: str, template: str) -> Iterator[str]:
    """The URL of one database for all tests of the running service: each has an organization of its own, and sees nothing else."""
    name = sql.Identifier("service")
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template {}").format(name, sql.Identifier(template)))
        yield database_of(postgres, "service")
        connection.execute(sql.SQL("drop database {} with (force)").format(name))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool over the test's database."""
    pool = Database(database_url)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
async def api(service_database: str) -> AsyncIterator[Api]:
    """The whole service, at noon of 10 March 2026, and somebody of a new organization."""
    async with running(service_database) as service:
        yield service


@pytest.fixture
async def many(api: Api) -> Api:
    """The service with one measurement: filled, it is as many rows as one asks for."""
    await api.send([api.system("web", NOON, cpu_usage=1)])
    return api
