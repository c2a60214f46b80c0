"""Reports told to webhooks: a signed POST (Standard Webhooks). The only place in the jobs that knows aiohttp, and of it the client."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
from typing import Any
from uuid import UUID

import aiohttp
import msgspec

from ingest.collectors.backoff import retry_after
from jobs.delivery.addresses import AddressNotAllowed, public_socket
from jobs.delivery.handover import DeliveryRefused, Handover, NotDelivered
from storage.report_recipients import Webhook

ANSWER_S = 15.0
"""In which a receiver has to answer."""


class ToldDays(msgspec.Struct):
    """The first and the last day, both in it, and whose days they are; null is the organization's zone."""

    first: dt.date = msgspec.field(name="from")
    last: dt.date = msgspec.field(name="to")
    tz: str | None = None


class ToldReport(msgspec.Struct):
    """A report as a webhook is told of it, named as in `GET /api/v1/reports/{id}`, without its data.

    `due`: the local time of the schedule that it was made for.
    """

    id: UUID
    organization_id: UUID
    schedule_id: UUID | None
    schedule: str | None
    due: str | None
    type: str
    format: str
    status: str
    period: ToldDays
    created_at: dt.datetime
    finished_at: dt.datetime
    generated_at: dt.datetime | None
    download_url: str | None
    file_name: str | None
    size: int | None
    error: str | None


class ReportNotice(msgspec.Struct):
    """The body of a webhook. `type`: `report.succeeded` or `report.failed`; `id` is the delivery's key, the same at every attempt."""

    type: str
    id: str
    timestamp: dt.datetime
    report: ToldReport


def webhook_signature(secret: bytes, id_: str, timestamp: int, body: bytes) -> str:
    """`webhook-signature` of a body: `v1,` and the HMAC-SHA256 of `<id>.<timestamp>.<body>` in base64."""
    digest = hmac.new(secret, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


class WebhookPoster:
    """Posts to webhooks. Where `private` is allowed, they may be in the service's own network, and without TLS."""

    def __init__(self, *, private: bool = False, answer_s: float = ANSWER_S) -> None:
        self._private = private
        self._timeout = aiohttp.ClientTimeout(total=answer_s)

    async def hand_over(self, handover: Handover) -> None:
        """Returns once it was answered with 2xx. Raises DeliveryRefused for 410 and an address that is not allowed, else NotDelivered."""
        assert isinstance(handover.recipient, Webhook)
        url, secret = handover.recipient.url, handover.run.secret
        if secret is None:
            raise DeliveryRefused("its schedule is gone, and with it what signs it")
        if not (url.startswith("https://") or (self._private and url.startswith("http://"))):
            raise DeliveryRefused("the address does not begin with https://")
        body = msgspec.json.encode(_notice(handover))
        timestamp = int(handover.now.timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Streamgauge",
            "webhook-id": handover.key,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": webhook_signature(secret, handover.key, timestamp, body),
        }
        try:
            status, after = await self._post(url, body, headers)
        except AddressNotAllowed as error:
            raise DeliveryRefused(str(error)) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise DeliveryRefused("this is no address of a webhook") from None
        except TimeoutError:
            raise NotDelivered(f"no answer within {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotDelivered(_reason(error)) from error
        if status == 410:
            raise DeliveryRefused("answered with 410: it is gone")
        if 300 <= status < 400:
            raise NotDelivered(f"answered with {status}: redirects are not followed", after)
        if not 200 <= status < 300:
            raise NotDelivered(f"answered with {status}", after)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, float]:
        """The status, and after how many seconds it may be tried again. A connection serves one delivery, its name resolved anew."""
        barred: list[AddressNotAllowed] = []

        def made(info: Any) -> Any:
            try:
                return public_socket(info)
            except AddressNotAllowed as error:
                barred.append(error)
                raise

        connector = aiohttp.TCPConnector(
            force_close=True, use_dns_cache=False, socket_factory=None if self._private else made
        )
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    timeout=self._timeout,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                ) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                # The status says it all; a body that never ends is nobody's wait.
                return answer.status, retry_after(answer.headers)
        except aiohttp.ClientError:
            if barred:
                raise barred[0] from None
            raise


def _notice(handover: Handover) -> ReportNotice:
    run, days = handover.run, handover.parameters
    return ReportNotice(
        type=f"report.{run.status}",
        id=handover.key,
        timestamp=handover.now,
        report=ToldReport(
            id=handover.id,
            organization_id=handover.organization,
            schedule_id=run.schedule,
            schedule=run.schedule_name,
            due=None if run.period is None else run.period.isoformat(),
            type=run.type,
            format=run.format,
            status=run.status,
            period=ToldDays(days.first, days.last, days.tz),
            created_at=run.created_at,
            finished_at=run.finished_at,
            generated_at=run.generated_at,
            download_url=handover.download_url,
            file_name=run.file_name,
            size=run.size,
            error=run.error,
        ),
    )


def _reason(error: Exception) -> str:
    """What went wrong, without what an address may hold of secrets."""
    cause = getattr(error, "os_error", None) or error
    said = getattr(cause, "strerror", None) or type(error).__name__
    return f"it cannot be reached: {said}"[:300]
