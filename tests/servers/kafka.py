"""Apache Kafka for tests: the address that the environment names, a container, or a process out of Maven's artifacts."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.servers.child import Child
from tests.servers.container import Container, engine
from tests.servers.kafka_artifacts import VERSION, Kafka, install_kafka
from tests.servers.kafka_protocol import knows_a_broker
from tests.servers.missing import ServerMissingError
from tests.servers.ports import LOOPBACK, free_ports
from tests.servers.server import Server, wait_for

VARIABLE = "STREAMGAUGE_TEST_KAFKA"
START_SECONDS = 60.0
IMAGE = f"apache/kafka:{VERSION}"

# One node, a small machine, and tests that wait for no rebalance longer than they have to.
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "log.cleaner.dedupe.buffer.size": "4194304",
    # A killed broker that comes back is let in when the controller has given up its predecessor.
    "broker.heartbeat.interval.ms": "200",
    "broker.session.timeout.ms": "1500",
    # Retention is checked often, so that a test of offsets that are gone need not wait for it.
    "log.retention.check.interval.ms": "1000",
}


def given_address() -> str | None:
    """The broker that the environment names; None where it names none. Raises ServerMissingError where that does not answer."""
    address = os.environ.get(VARIABLE)
    if address and not wait_for(lambda: knows_a_broker(address), 10):
        raise ServerMissingError(f"no broker answers at {address}, which {VARIABLE} names")
    return address or None


def prepare() -> None:
    """Fetches what `own_broker` needs. Raises ServerMissingError."""
    if engine() is None:
        install_kafka()


@contextmanager
def own_broker() -> Iterator[Server]:
    """A broker of the caller's own, which it may stop and kill; gone with its data at the end. Raises ServerMissingError."""
    docker = engine()
    broker: Server = _container(docker) if docker else KafkaProcess(install_kafka())
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


class KafkaProcess:
    """A broker, which is its own controller, in a Java process, with its data in a folder for temporary files."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._folder = Path(tempfile.mkdtemp(prefix="sg-kafka-"))
        self._child: Child | None = None
        self.address = ""

    def start(self) -> None:
        """See Server. A first start takes 3 s, one after a kill 4 s."""
        for _ in range(1 if self.address else 3):
            address = self.address or self._laid_out()
            child = Child(
                self._kafka.command(
                    "kafka.Kafka",
                    str(self._folder / "server.properties"),
                    options=("-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData"),
                ),
                folder=self._folder,
                log=self._folder / "log",
            )
            if wait_for(partial(knows_a_broker, address), START_SECONDS, child.is_running):
                self._child, self.address = child, address
                return
            child.end(signal.SIGKILL)
        raise ServerMissingError(f"Kafka did not start: {child.last_words}")

    def _laid_out(self) -> str:
        """Makes the data folder and the settings for ports that are free now."""
        port, controller = free_ports(2)
        data = self._folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self._kafka.formatted, data)
        settings = _SETTINGS | {
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
            "log.dirs": str(data),
        }
        text = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self._folder / "server.properties").write_text(text, "utf-8")
        return f"{LOOPBACK}:{port}"

    def stop(self) -> None:
        """See Server."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """See Server."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """See Server."""
        assert self._child is not None
        self._child.freeze()

    def thaw(self) -> None:
        """See Server."""
        assert self._child is not None
        self._child.thaw()

    def close(self) -> None:
        """See Server."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        if self._child is not None:
            self._child.end(number)


def _container(docker: str) -> Container:
    """The official image, with the settings of a broker that listens to this machine only."""
    (port,) = free_ports(1)
    settings = _SETTINGS | {
        "controller.quorum.voters": "1@localhost:9093",
        "listeners": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://localhost:9093",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
    }
    environment = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in settings.items()}
    address = f"{LOOPBACK}:{port}"
    return Container(
        docker,
        IMAGE,
        address=address,
        ports={port: port},
        environment=environment | {"KAFKA_HEAP_OPTS": "-Xmx512m"},
        answers=lambda: knows_a_broker(address),
        seconds=START_SECONDS,
    )
