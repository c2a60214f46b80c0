"""The same fixtures as everywhere, over a TimescaleDB: what is imported here from other folders runs on hypertables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import copied
from tests.integration.conftest import api, database

__all__ = ["api", "database"]


@pytest.fixture(scope="session")
def postgres(timescale: str) -> str:
    """The URL of a server with TimescaleDB."""
    return timescale


@pytest.fixture(scope="session")
def template(timescale_template: str) -> str:
    """The name of a migrated, empty database of hypertables that is only ever copied."""
    return timescale_template


@pytest.fixture
def database_url(timescale_database_url: str) -> str:
    """The URL of a migrated, empty database of hypertables of this test's own."""
    return timescale_database_url


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
