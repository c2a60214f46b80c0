"""Real servers for the tests that need one, each for the whole run, and a fresh, migrated database for each test.

Kafka and TimescaleDB come from tests/servers; docs/development.md tells from where.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from aggregators.definitions import ROLLUPS
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate

pytest_plugins = ["tests.servers.fixtures"]

TEMPLATE = "template_streamgauge"


def database_of(server: str, name: str) -> str:
    """The server's URL with another database's name."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server that lives as long as the run; its folder is one that PostgreSQL's own user can enter, too."""
    base = Path(tempfile.mkdtemp(prefix="sg-tests-", dir="/tmp"))
    base.chmod(0o755)
    try:
        with EmbeddedPostgres(base / "data", settings={"fsync": "off", "full_page_writes": "off"}) as server:
            yield server.start()
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """A data folder for a service of its own, with a path short enough for a socket, which PostgreSQL's own user can enter."""
    base = Path(tempfile.mkdtemp(prefix="sg-data-", dir="/tmp"))
    base.chmod(0o755)
    yield base / "data"
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """The name of a migrated, empty database that is only ever copied."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
    migrate(database_of(postgres, TEMPLATE), ROLLUPS)
    return TEMPLATE


@pytest.fixture
def database_url(postgres: str, template: str) -> Iterator[str]:
    """The URL of a migrated, empty database of this test's own."""
    with copied(postgres, template) as url:
        yield url


@contextmanager
def copied(server: str, template: str) -> Iterator[str]:
    """The URL of a copy of a database, which is dropped in the end."""
    # The server may be shared with another run, and with a second copy of this module in the same one.
    name = f"test_{os.getpid()}_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {} strategy file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    yield database_of(server, name)
    # Another connection: a test may have ended the first, with the server.
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def timescale_template(timescale: str) -> Iterator[str]:
    """The name of a migrated, empty database with the extension, which is only ever copied."""
    name = f"{TEMPLATE}_{os.getpid()}"
    with psycopg.connect(timescale, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        with psycopg.connect(database_of(timescale, name), autocommit=True) as inside:
            inside.execute("create extension if not exists timescaledb")
        migrate(database_of(timescale, name), ROLLUPS)
        # The extension's own scheduler would hold a connection, and what is connected to cannot be copied.
        connection.execute(sql.SQL("alter database {} with allow_connections false").format(sql.Identifier(name)))
        connection.execute("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s", (name,))
        yield name
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def timescale_database_url(timescale: str, timescale_template: str) -> Iterator[str]:
    """The URL of a migrated, empty database with TimescaleDB, of this test's own."""
    with copied(timescale, timescale_template) as url:
        yield url
