"""Which Kafka it is, how to get in, and what its topics are called."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Literal

Security = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True)
class Cluster:
    """A Kafka cluster and our names in it.

    `servers`: bootstrap addresses, `host:port`, comma-separated. `prefix`: what every topic's name starts with.
    `security` and the credentials are those of Kafka's clients; `ca_file` names the authority of the brokers' certificates.
    """

    servers: str
    prefix: str = "streamgauge"
    security: Security = "PLAINTEXT"
    mechanism: Mechanism = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    def topic(self, kind: str) -> str:
        """The topic of a kind of event."""
        return f"{self.prefix}.{kind}"

    def kind(self, topic: str) -> str:
        """The kind of event in a topic of ours."""
        return topic[len(self.prefix) + 1 :]

    @property
    def dead_letter_topic(self) -> str:
        """Where events go that cannot be counted."""
        return f"{self.prefix}.dead-letter"

    @property
    def group(self) -> str:
        """The workers' consumer group."""
        return f"{self.prefix}.worker"

    def client(self) -> dict[str, Any]:
        """What every client of aiokafka needs to be told."""
        options: dict[str, Any] = {"bootstrap_servers": self.servers, "security_protocol": self.security}
        if self.security in ("SSL", "SASL_SSL"):
            options["ssl_context"] = ssl.create_default_context(cafile=self.ca_file)
        if self.security.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options
