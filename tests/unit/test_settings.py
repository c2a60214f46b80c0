"""The settings: defaults, every variable by its name, unknown names with the nearest known one, bad values named."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from front.settings import NAMES, InvalidSetting, Settings, read, variable

SOME_ID = UUID("6f1c1c1e-6f0e-4a52-9f53-0f1d8c7a1b11")

VALUES = {
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("9000", 9_000),
    "workers": ("4", 4),
    "data": ("/var/lib/streamgauge", Path("/var/lib/streamgauge")),
    "public_url": ("https://gauge.example.com", "https://gauge.example.com"),
    "api_database_url": ("postgresql://api@db/streamgauge", "postgresql://api@db/streamgauge"),
    "sink_database_url": ("postgresql://sink@db/streamgauge", "postgresql://sink@db/streamgauge"),
    "jobs_database_url": ("postgresql://jobs@db/streamgauge", "postgresql://jobs@db/streamgauge"),
    "database_url": ("postgresql://u@h/d", "postgresql://u@h/d"),
    "kafka_bootstrap_servers": ("a:9092,b:9092", "a:9092,b:9092"),
    "jwt_secret": ("s" * 32, "s" * 32),
    "access_token_minutes": ("5", 5),
    "open_registration": ("false", False),
    "queue_events": ("5000", 5_000),
    "group_events": ("10", 10),
    "max_body_bytes": ("1048576", 1_048_576),
    "earliest": ("2010-01-01", dt.date(2010, 1, 1)),
    "ahead_minutes": ("0", 0),
    "metric_names": ("12", 12),
    "ledger_hours": ("72", 72),
    "ledger_slices": ("8", 8),
    "retention_days": ("90", 90),
    "archive": ("/mnt/archive", Path("/mnt/archive")),
    "compress_after_days": ("14", 14),
    "redis_url": ("redis://h:6379/0", "redis://h:6379/0"),
    "cache_bytes": ("1048576", 1_048_576),
    "cache_entries": ("0", 0),
    "commit_mark": ("/run/streamgauge/mark", Path("/run/streamgauge/mark")),
    "auth0_domain": ("acme.eu.auth0.com", "acme.eu.auth0.com"),
    "auth0_audience": ("https://gauge.example.com", "https://gauge.example.com"),
    "auth0_issuer": ("https://login.example.com/", "https://login.example.com/"),
    "auth0_organization": (str(SOME_ID), SOME_ID),
    "supabase_url": ("https://acme.supabase.co", "https://acme.supabase.co"),
    "supabase_jwt_secret": ("s" * 32, "s" * 32),
    "supabase_jwks_url": ("https://keys.example.com/", "https://keys.example.com/"),
    "supabase_organization": (str(SOME_ID), SOME_ID),
    "collect_host": ("false", False),
    "exports": ("2", 2),
    "export_seconds": ("60", 60.0),
    "report_processes": ("3", 3),
    "report_store": ("s3://reports/acme", "s3://reports/acme"),
    "s3_endpoint": ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    "s3_region": ("eu-central-1", "eu-central-1"),
    "s3_access_key": ("key", "key"),
    "s3_secret_key": ("secret", "secret"),
    "smtp_url": ("smtps://me:secret@mail.example.com", "smtps://me:secret@mail.example.com"),
    "mail_from": ("Reports <reports@example.com>", "Reports <reports@example.com>"),
    "webhook_private": ("true", True),
    "report_fonts": ("/usr/share/fonts/opentype/noto", Path("/usr/share/fonts/opentype/noto")),
    "public_operations": ("true", True),
    "cors_origins": ("https://a.example,http://localhost:3000", "https://a.example,http://localhost:3000"),
    "trusted_proxies": ("10.0.0.0/8,::1", "10.0.0.0/8,::1"),
    "requests_per_minute": ("60", 60),
    "anonymous_requests_per_minute": ("0", 0),
    "sign_ins_per_minute": ("3", 3),
    "events_per_second": ("1000", 1_000),
    "streams_per_credential": ("10", 10),
    "waiting_sockets_per_address": ("5", 5),
    "head_seconds": ("5", 5.0),
    "body_seconds": ("7.5", 7.5),
    "request_seconds": ("90", 90.0),
    "topic_prefix": ("acme.gauge", "acme.gauge"),
    "partitions": ("24", 24),
    "log_retention_hours": ("24", 24),
    "replication": ("3", 3),
    "compression": ("zstd", "zstd"),
    "kafka_security": ("SASL_SSL", "SASL_SSL"),
    "kafka_mechanism": ("SCRAM-SHA-512", "SCRAM-SHA-512"),
    "kafka_username": ("gauge", "gauge"),
    "kafka_password": ("secret", "secret"),
    "kafka_ca_file": ("/etc/kafka/ca.pem", "/etc/kafka/ca.pem"),
    "session_seconds": ("30", 30),
    "stall_seconds": ("60", 60),
    "dead_letter_limit": ("0", 0),
    "metrics_port": ("9100", 9_100),
    "log_format": ("json", "json"),
    "log_level": ("debug", "debug"),
}


def test_without_an_environment_there_are_the_defaults() -> None:
    settings = read({})
    assert settings == Settings()
    assert (settings.port, settings.data, settings.database_url) == (8_000, Path("data"), None)
    assert read({"HOME": "/", "PORT": "1", "STREAMGAUGE_PORT": ""}) == settings


def test_every_setting_is_read_from_its_variable() -> None:
    assert set(VALUES) == {field.name for field in msgspec.structs.fields(Settings)}
    for name, (text, value) in VALUES.items():
        assert getattr(read({variable(name): text}), name) == value
    together = read({variable(name): text for name, (text, _) in VALUES.items()})
    assert msgspec.structs.asdict(together) == {name: value for name, (_, value) in VALUES.items()}
    for name, known in NAMES.items():
        assert variable(name) == known
        with pytest.raises(InvalidSetting):
            read({f"STREAMGAUGE_{name.upper()}": "x"})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("STREAMGAUGE_PROT", "STREAMGAUGE_PORT"),
        ("STREAMGAUGE_QUEUE_EVENT", "STREAMGAUGE_QUEUE_EVENTS"),
        ("STREAMGAUGE_port", "STREAMGAUGE_PORT"),
        ("STREAMGAUGE_MAX_BODY", "STREAMGAUGE_MAX_BODY_BYTES"),
        ("STREAMGAUGE_DATA_FOLDER", "STREAMGAUGE_DATA"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(wrong: str, right: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{wrong}: .*did you mean {right}\\?"):
        read({wrong: "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STREAMGAUGE_PORT", "http"),
        ("STREAMGAUGE_PORT", "65536"),
        ("STREAMGAUGE_PORT", "-1"),
        ("STREAMGAUGE_PORT", "80.5"),
        ("STREAMGAUGE_QUEUE_EVENTS", "999"),
        ("STREAMGAUGE_GROUP_EVENTS", "0"),
        ("STREAMGAUGE_MAX_BODY_BYTES", "1e12"),
        ("STREAMGAUGE_AHEAD_MINUTES", "1441"),
        ("STREAMGAUGE_COLLECT_HOST", "perhaps"),
        ("STREAMGAUGE_PUBLIC_OPERATIONS", "2"),
        ("STREAMGAUGE_LEDGER_SLICES", "many"),
        ("STREAMGAUGE_EARLIEST", "yesterday"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "0"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "1441"),
        ("STREAMGAUGE_OPEN_REGISTRATION", "perhaps"),
        ("STREAMGAUGE_LOG_LEVEL", "loud"),
        ("STREAMGAUGE_REQUESTS_PER_MINUTE", "-1"),
        ("STREAMGAUGE_HEAD_SECONDS", "0"),
        ("STREAMGAUGE_REQUEST_SECONDS", "nan"),
        ("STREAMGAUGE_LOG_FORMAT", "xml"),
        ("STREAMGAUGE_AUTH0_ORGANIZATION", "Acme"),
    ],
)
def test_a_bad_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{name}: "):
        read({name: value})
