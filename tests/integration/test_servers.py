"""The servers that tests run on: they answer, and come back at their address with what they had."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.servers.kafka_protocol import knows_a_broker
from tests.servers.server import Server
from tests.service_process import ROOT, wait_until


def test_a_broker_comes_back_at_its_address(kafka_server: Server) -> None:
    address = kafka_server.address
    kafka_server.kill()
    assert not knows_a_broker(address)
    kafka_server.start()
    assert (kafka_server.address, knows_a_broker(address)) == (address, True)


def test_a_frozen_broker_goes_on(kafka_server: Server) -> None:
    kafka_server.freeze()
    assert not knows_a_broker(kafka_server.address)
    kafka_server.thaw()
    assert wait_until(lambda: knows_a_broker(kafka_server.address), "the broker to go on")


def test_a_frozen_database_goes_on(timescale_server: Server) -> None:
    with psycopg.connect(timescale_server.address) as connection:
        connection.execute("select 1")
        timescale_server.freeze()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(timescale_server.address, connect_timeout=2)
        timescale_server.thaw()
        assert connection.execute("select 42").fetchone() == (42,)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_database_comes_back_with_what_was_committed(timescale_server: Server, end: str) -> None:
    with psycopg.connect(timescale_server.address, autocommit=True) as connection:
        connection.execute("create table kept as select 42 as number")
        getattr(timescale_server, end)()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    timescale_server.start()
    with psycopg.connect(timescale_server.address) as connection:
        assert connection.execute("select number from kept").fetchone() == (42,)


def test_a_database_of_ones_own_has_the_extension(timescale_database_url: str) -> None:
    with psycopg.connect(timescale_database_url) as connection:
        assert connection.execute("select 1 from pg_extension where extname = 'timescaledb'").fetchone() == (1,)
        assert connection.execute("select to_regclass('store.event_trade') is not null").fetchone() == (True,)


_OWNER = """
import sys, time
from tests.servers.kafka import own_broker
with own_broker() as broker:
    print(broker.address, broker._folder, flush=True)
    time.sleep(600)
"""


def test_a_broker_does_not_outlive_tests_that_were_killed(kafka: str) -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        address, folder = owner.stdout.readline().split()
        assert knows_a_broker(address)
        owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not knows_a_broker(address), "the broker to end")
    wait_until(lambda: not Path(folder).exists(), "its data to be gone")
