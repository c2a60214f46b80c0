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


def test_a_broker_freezes_and_dies_and_comes_back_at_its_address(kafka_server: Server) -> None:
    address = kafka_server.address
    kafka_server.freeze()
    assert not knows_a_broker(address)
    kafka_server.thaw()
    assert wait_until(lambda: knows_a_broker(address), "the broker to go on")
    kafka_server.kill()
    assert not knows_a_broker(address)
    kafka_server.start()
    assert (kafka_server.address, knows_a_broker(address)) == (address, True)


def test_a_database_freezes_and_ends_and_comes_back_with_what_was_committed(timescale_server: Server) -> None:
    address = timescale_server.address
    with psycopg.connect(address) as connection:
        connection.execute("create table kept as select 42 as number")
        connection.commit()
        timescale_server.freeze()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(address, connect_timeout=2)
        timescale_server.thaw()
        assert connection.execute("select number from kept").fetchone() == (42,)
    for end in (timescale_server.kill, timescale_server.stop):
        with psycopg.connect(address, autocommit=True) as connection:
            end()
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
