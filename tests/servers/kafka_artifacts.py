"""Apache Kafka out of its Maven artifacts: fetched once a machine, with a formatted data folder that every broker starts from."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.cache import kept
from tests.servers.missing import ServerMissingError, run

VERSION = "4.3.1"
OLDEST_JAVA = 17

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>streamgauge.tests</groupId>
  <artifactId>broker</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
"""
_LOGGING = """\
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1} %m%n
"""
_CLUSTER = "c3RyZWFtZ2F1Z2UtdGVzdA"
"""A cluster's id, 16 bytes in base64. It may be the same everywhere: no two of these brokers ever meet."""
_FORMAT = """\
process.roles = broker,controller
node.id = 1
controller.quorum.voters = 1@127.0.0.1:1
controller.listener.names = CONTROLLER
listeners = PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1
listener.security.protocol.map = PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs = {folder}
"""


@dataclass(frozen=True)
class Kafka:
    """An installed Kafka: how to run its classes, how it logs to its output, and an empty, formatted data folder to copy."""

    java: str
    classpath: str
    logging: Path
    formatted: Path

    def command(self, main: str, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        """The command that runs a class of Kafka's."""
        return [
            self.java,
            *options,
            f"-Dlog4j2.configurationFile={self.logging}",
            "-cp",
            self.classpath,
            main,
            *arguments,
        ]


def install_kafka() -> Kafka:
    """Kafka in the cache; fetched by Maven where it is not there yet, under a minute. Raises ServerMissingError."""
    java = find_java()
    digest = hashlib.sha256((_POM + _LOGGING + _FORMAT).encode()).hexdigest()[:8]
    folder = kept(f"kafka-{VERSION}-{digest}", lambda empty: _build(empty, java))
    return _at(folder, java)


def _at(folder: Path, java: str) -> Kafka:
    jars = sorted(str(jar) for jar in (folder / "libs").glob("*.jar"))
    return Kafka(java, os.pathsep.join(jars), folder / "log4j2.properties", folder / "formatted")


def _build(folder: Path, java: str) -> None:
    if shutil.which("mvn") is None:
        raise ServerMissingError("Maven (mvn) is missing, which fetches Kafka")
    (folder / "pom.xml").write_text(_POM, "utf-8")
    (folder / "log4j2.properties").write_text(_LOGGING, "utf-8")
    run(
        ["mvn", "-B", "-q", _PLUGIN, "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'libs'}"],
        folder=folder,
        seconds=900,
    )
    settings = folder / "format.properties"
    settings.write_text(_FORMAT.format(folder=folder / "formatted"), "utf-8")
    tool = _at(folder, java).command("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(settings))
    run(tool, seconds=120)


def find_java() -> str:
    """The Java of JAVA_HOME, or else that of the path. Raises ServerMissingError where it is none, or too old for Kafka."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        raise ServerMissingError(f"Java {OLDEST_JAVA} or newer is missing")
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60).stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerMissingError(f"{java}: {error}") from error
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise ServerMissingError(f"{java} is not Java {OLDEST_JAVA} or newer: {said.strip()}")
    return java
