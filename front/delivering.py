"""How reports are handed over, from the settings: the folder or bucket, the mail server, webhooks; and the addresses of files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.headerregistry import Address
from email.utils import parseaddr
from pathlib import Path
from random import Random
from urllib.parse import parse_qsl, unquote, urlsplit

from api.auth.authenticate import utc_now
from api.delivery_observation import DeliveryObservation
from api.observation import Observation
from front.credentials import known_jwt_secret
from front.settings import InvalidSetting, Settings, variable
from jobs.delivery.alerts import PublishAlerts
from jobs.delivery.deliverer import Channels, report_deliveries
from jobs.delivery.folder import ReportFolder
from jobs.delivery.handover import Channel
from jobs.delivery.mail import Mailer, SmtpServer
from jobs.delivery.webhook import WebhookPoster
from storage.database import Database
from storage.report_links import DownloadLinks, download_key

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}").fullmatch
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/?|https?://\[[0-9a-f:]+\](?::[0-9]{1,5})?/?").fullmatch
_STARTTLS = {"true": True, "false": False, "auto": None}


def channels(settings: Settings) -> Channels:
    """The ways that are set up. Raises InvalidSetting."""
    return Channels(
        webhook=WebhookPoster(private=settings.webhook_private), mail=_mailer(settings), store=_store(settings)
    )


def smtp_server(url: str) -> SmtpServer:
    """The server of `smtp[s]://[user:password@]host[:port][?starttls=true|false|auto]`. Raises InvalidSetting.

    `smtps` is TLS from the first byte, port 465; `smtp` is port 587 with STARTTLS: insisted on where there is a password, else taken
    where it is offered.
    """
    name = variable("smtp_url")
    expected = f"{name}: expected smtp://user:password@host:587 or smtps://user:password@host:465"
    try:
        parts = urlsplit(url)
        port = parts.port
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise InvalidSetting(expected) from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path.strip("/"):
        raise InvalidSetting(expected)
    asked = options.pop("starttls", None)
    if options or asked not in (None, *_STARTTLS) or (asked is not None and parts.scheme == "smtps"):
        raise InvalidSetting(f"{name}: after the ? of smtp:// may stand starttls=true, false or auto")
    tls = parts.scheme == "smtps"
    username, password = (None if one is None else unquote(one) for one in (parts.username, parts.password))
    starttls = _STARTTLS[asked] if asked is not None else (True if password is not None else None)
    return SmtpServer(
        parts.hostname,
        port or (465 if tls else 587),
        tls=tls,
        starttls=None if tls else starttls,
        username=username,
        password=password,
    )


def mail_sender(text: str) -> Address:
    """Whom mails come from: an address, with or without a name before it. Raises InvalidSetting."""
    shown, address = parseaddr(text)
    if not text.isprintable() or address.count("@") != 1 or not address.isascii():
        raise InvalidSetting(f"{variable('mail_from')}: expected an address, as Streamgauge <reports@example.com>")
    try:
        return Address(shown, addr_spec=address)
    except Exception:
        # The parser of addresses has many errors, which all mean the same.
        raise InvalidSetting(
            f"{variable('mail_from')}: expected an address, as Streamgauge <reports@example.com>"
        ) from None


def _mailer(settings: Settings) -> Channel | None:
    if settings.smtp_url is None and settings.mail_from is None:
        return None
    if settings.smtp_url is None or settings.mail_from is None:
        missing = "smtp_url" if settings.smtp_url is None else "mail_from"
        raise InvalidSetting(f"{variable(missing)}: is needed too, or neither of the two")
    return Mailer(smtp_server(settings.smtp_url), mail_sender(settings.mail_from))


def _store(settings: Settings) -> Channel | None:
    place = settings.report_store
    if place is None:
        return None
    if not place.startswith("s3://"):
        if "://" in place:
            raise InvalidSetting(f"{variable('report_store')}: expected a folder, or s3://bucket/prefix")
        return ReportFolder(Path(place).resolve())
    # Who has no bucket need not load its client.
    from jobs.delivery.bucket import BucketPlace, ReportBucket

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    if not _BUCKET(bucket):
        raise InvalidSetting(f"{variable('report_store')}: expected s3://bucket/prefix")
    if settings.s3_endpoint is not None and not _ENDPOINT(settings.s3_endpoint):
        raise InvalidSetting(f"{variable('s3_endpoint')}: expected an address, as https://s3.example.com")
    region = settings.s3_region or "us-east-1"
    if not _BUCKET(region):
        raise InvalidSetting(f"{variable('s3_region')}: expected a region, as eu-central-1")
    if (settings.s3_access_key is None) != (settings.s3_secret_key is None):
        raise InvalidSetting(f"{variable('s3_access_key')}, {variable('s3_secret_key')}: are needed together")
    return ReportBucket(
        BucketPlace(
            bucket,
            prefix.strip("/"),
            endpoint=settings.s3_endpoint,
            region=region,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
        )
    )


@asynccontextmanager
async def delivering(
    settings: Settings, ways: Channels, database: Database, observation: Observation, publish: PublishAlerts
) -> AsyncIterator[None]:
    """Hands reports over while the block does."""
    secret = known_jwt_secret(settings)
    links = None
    if settings.public_url is not None and secret is not None:
        links = DownloadLinks(settings.public_url, download_key(secret))
    async with report_deliveries(
        database,
        ways,
        links=links,
        publish=publish,
        counted=DeliveryObservation(observation).counted,
        now=utc_now,
        random=Random(),  # noqa: S311  (spreads retries; nothing secret)
    ):
        yield
