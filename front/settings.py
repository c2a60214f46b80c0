"""Every setting there is, read from the environment once."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class InvalidSetting(ValueError):
    """A variable of the environment that cannot be used; the message names it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings with their defaults. Each is read from `STREAMGAUGE_` and its name in capitals, or from the name given in `NAMES`.

    host, port: where the API listens. workers: API processes behind that port.
    data: folder of the embedded database and of credentials.json.
    public_url: under which address people reach the service (default: http://127.0.0.1:PORT).
    database_url: a PostgreSQL or TimescaleDB of your own; without it the embedded one is started in `data`.
    api_database_url, sink_database_url, jobs_database_url: other logins to the same database for what asks, what counts and what keeps
    house; each is database_url by default.
    kafka_bootstrap_servers: Kafka as the log. jwt_secret: at least 32 bytes, signs access tokens; made and kept in `data` when absent.
    access_token_minutes: how long an access token lasts. open_registration: whether anybody may register.
    queue_events: events that may wait for the sink. group_events: events in one transaction. max_body_bytes: of one request.
    earliest: events before this date are refused. ahead_minutes: how far ahead of the clock an event may be.
    metric_names: different names an organization may use, a kind. ledger_hours, ledger_slices: how long an id is known.
    redis_url: a Redis that API processes share kept answers in. cache_bytes, cache_entries: of the answers kept in a process's memory;
    0 entries keep none. commit_mark: a file through which the API processes on one machine tell each other of commits at once.
    auth0_domain, auth0_audience, auth0_issuer: whose access tokens are let in beside our own; supabase_url with supabase_jwt_secret or
    supabase_jwks_url: the same for Supabase (front/issuers.py says what goes together). auth0_organization, supabase_organization: which
    organization new users of the issuer join; without it each gets one of their own.
    collect_host: whether `run` collects this host's own metrics, and each API process those of its requests.
    log_format: console or json. log_level: debug to error.
    exports: how many an API process sends at once. export_seconds: how long one may take, at most an hour.
    report_processes: how many reports are made at once, each in a process of its own. report_fonts: a folder with more fonts for PDFs.
    smtp_url, mail_from: the server that takes mails with reports, and whom they come from. report_store: a folder or s3://bucket/prefix
    that reports are stored in; s3_endpoint, s3_region, s3_access_key, s3_secret_key: of the bucket. webhook_private: whether webhooks may
    be in the service's own network, and without TLS (front/delivering.py reads all of these).
    public_operations: whether /metrics, /cache/metrics, /health/detailed and /api/performance are open without a credential.
    cors_origins: whose pages may read answers. trusted_proxies: networks whose X-Forwarded-For is believed. Both are comma-separated.
    requests_per_minute: by credential; anonymous_requests_per_minute: by address; sign_ins_per_minute: failed ones by address and by
    account; events_per_second: by organization; 0 is no limit. streams_per_credential, waiting_sockets_per_address: open at once.
    head_seconds, body_seconds, request_seconds: for the head of a request, its body, and the head of the answer.
    retention_days: age at which raw events are archived and dropped (default: never). archive: the archive's folder, the same on every
    machine (default: `archive` in `data`). compress_after_days: age at which TimescaleDB's
    community edition compresses a day of raw events.
    topic_prefix: what Kafka's topics' names start with. partitions, log_retention_hours, replication: of topics that are made.
    compression: of records. kafka_security, kafka_mechanism, kafka_username, kafka_password, kafka_ca_file: how to get in.
    session_seconds: after which a worker that is silent loses its partitions. stall_seconds: after which a partition that has
    events and is not moved on is called stuck. dead_letter_limit: in 10 minutes. metrics_port: where a worker tells its figures.
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    data: Path = Path("data")
    public_url: str | None = None
    database_url: str | None = None
    api_database_url: str | None = None
    sink_database_url: str | None = None
    jobs_database_url: str | None = None
    kafka_bootstrap_servers: str | None = None
    jwt_secret: str | None = None
    access_token_minutes: Annotated[int, msgspec.Meta(ge=1, le=1_440)] = 30
    open_registration: bool = True
    queue_events: Annotated[int, msgspec.Meta(ge=1_000)] = 100_000
    group_events: Annotated[int, msgspec.Meta(ge=1)] = 50_000
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=1_073_741_824)] = 33_554_432
    earliest: dt.date = dt.date(2000, 1, 1)
    ahead_minutes: Annotated[int, msgspec.Meta(ge=0, le=1_440)] = 10
    metric_names: Annotated[int, msgspec.Meta(ge=1)] = 1_000
    ledger_hours: Annotated[int, msgspec.Meta(ge=1)] = 48
    ledger_slices: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 64
    retention_days: Annotated[int, msgspec.Meta(ge=3)] | None = None
    archive: Path | None = None
    compress_after_days: Annotated[int, msgspec.Meta(ge=1)] = 7
    redis_url: str | None = None
    cache_bytes: Annotated[int, msgspec.Meta(ge=1_048_576)] = 67_108_864
    cache_entries: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    commit_mark: Path | None = None
    auth0_domain: str | None = None
    auth0_audience: str | None = None
    auth0_issuer: str | None = None
    auth0_organization: UUID | None = None
    supabase_url: str | None = None
    supabase_jwt_secret: str | None = None
    supabase_jwks_url: str | None = None
    supabase_organization: UUID | None = None
    collect_host: bool = True
    exports: Annotated[int, msgspec.Meta(ge=1, le=100)] = 4
    export_seconds: Annotated[float, msgspec.Meta(ge=10, le=3_600)] = 900.0
    report_processes: Annotated[int, msgspec.Meta(ge=1, le=32)] = 1
    report_fonts: Path | None = None
    report_store: str | None = None
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_access_key: str | None = None
    s3_secret_key: str | None = None
    smtp_url: str | None = None
    mail_from: str | None = None
    webhook_private: bool = False
    public_operations: bool | None = None
    cors_origins: str | None = None
    trusted_proxies: str | None = None
    requests_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 1_200_000
    anonymous_requests_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 6_000
    sign_ins_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 5
    events_per_second: Annotated[int, msgspec.Meta(ge=0)] = 500_000
    streams_per_credential: Annotated[int, msgspec.Meta(ge=1)] = 20_000
    waiting_sockets_per_address: Annotated[int, msgspec.Meta(ge=1)] = 100
    head_seconds: Annotated[float, msgspec.Meta(ge=1, le=600)] = 10.0
    body_seconds: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 30.0
    request_seconds: Annotated[float, msgspec.Meta(ge=1, le=3_600)] = 60.0
    topic_prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "streamgauge"
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 8
    log_retention_hours: Annotated[int, msgspec.Meta(ge=1)] = 168
    replication: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    kafka_username: str | None = None
    kafka_password: str | None = None
    kafka_ca_file: str | None = None
    session_seconds: Annotated[int, msgspec.Meta(ge=1, le=300)] = 10
    stall_seconds: Annotated[int, msgspec.Meta(ge=1)] = 30
    dead_letter_limit: Annotated[int, msgspec.Meta(ge=0)] = 1_000
    metrics_port: Port | None = None
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


NAMES = {
    "database_url": "DATABASE_URL",
    "kafka_bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
    "jwt_secret": "JWT_SECRET",
    "redis_url": "REDIS_URL",
    "cors_origins": "CORS_ORIGINS",
    "access_token_minutes": "ACCESS_TOKEN_EXPIRE_MINUTES",
    "auth0_domain": "AUTH0_DOMAIN",
    "auth0_audience": "AUTH0_AUDIENCE",
    "auth0_issuer": "AUTH0_ISSUER",
    "supabase_url": "SUPABASE_URL",
    "supabase_jwt_secret": "SUPABASE_JWT_SECRET",
    "supabase_jwks_url": "SUPABASE_JWKS_URL",
    "s3_endpoint": "AWS_ENDPOINT_URL_S3",
    "s3_region": "AWS_REGION",
    "s3_access_key": "AWS_ACCESS_KEY_ID",
    "s3_secret_key": "AWS_SECRET_ACCESS_KEY",
    "kafka_security": "KAFKA_SECURITY_PROTOCOL",
    "kafka_mechanism": "KAFKA_SASL_MECHANISM",
    "kafka_username": "KAFKA_USERNAME",
    "kafka_password": "KAFKA_PASSWORD",
    "kafka_ca_file": "KAFKA_CA_FILE",
}
"""Settings that go by the name that other software gives them too."""

PREFIX = "STREAMGAUGE_"


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return NAMES.get(field, PREFIX + field.upper())


def read(environment: Mapping[str, str]) -> Settings:
    """The settings of an environment. Raises InvalidSetting for a name that is unknown, with the nearest one, or a bad value."""
    fields = {variable(field.name): field for field in msgspec.structs.fields(Settings)}
    for name in environment:
        if name.startswith(PREFIX) and name not in fields:
            near = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InvalidSetting(f"{name}: is no setting{hint}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        text = environment.get(name, "")
        if text == "":
            continue
        try:
            values[field.name] = msgspec.convert(text, field.type, strict=False, dec_hook=_path)
        except msgspec.ValidationError as error:
            raise InvalidSetting(f"{name}: {error}") from None
    return Settings(**values)


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)
