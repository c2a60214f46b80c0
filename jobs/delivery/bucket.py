"""Reports in a bucket of S3, or of what speaks its protocol. The only place that knows obstore."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from jobs.delivery.handover import Handover, NotDelivered
from jobs.delivery.object_name import object_name

if TYPE_CHECKING:
    from obstore.store import ClientConfig

ANSWER_S = 60


@dataclass(frozen=True)
class BucketPlace:
    """Which bucket, what its objects' names start with, and who asks.

    `endpoint` is None for Amazon's own. Without keys they are looked for where Amazon's own programs look: in the machine's role.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)


class ReportBucket:
    """A bucket that reports are stored in."""

    def __init__(self, place: BucketPlace) -> None:
        keys = {"access_key_id": place.access_key, "secret_access_key": place.secret_key}
        client: ClientConfig = {
            "allow_http": (place.endpoint or "").startswith("http://"),
            "timeout": dt.timedelta(seconds=ANSWER_S),
            "connect_timeout": dt.timedelta(seconds=10),
        }
        self._store = S3Store(
            place.bucket,
            prefix=place.prefix or None,
            client_options=client,
            # Trying again is the deliverer's business, which has it in the database.
            retry_config={"max_retries": 0, "retry_timeout": dt.timedelta(seconds=1)},
            # Said even where they are the usual ones: it would take them from the environment, and panics where they are empty there.
            aws_endpoint_url_s3=place.endpoint or f"https://s3.{place.region}.amazonaws.com",
            region=place.region,
            **{name: value for name, value in keys.items() if value is not None},  # type: ignore[arg-type]
        )

    async def hand_over(self, handover: Handover) -> None:
        """Returns once the object is stored. Raises NotDelivered: a key is put right, a bucket is made."""
        kind = handover.run.content_type or "application/octet-stream"
        await self.store(object_name(handover), await handover.artefact(), kind)

    async def store(self, name: str, data: bytes, content_type: str) -> None:
        """Stores an object, in place of one of that name. Raises NotDelivered."""
        try:
            # Its blocking form, in a thread: the other may have an answer for an interpreter that has ended, which aborts the process.
            await asyncio.to_thread(
                obstore.put, self._store, name, data, attributes={"Content-Type": content_type}, use_multipart=False
            )
        except (BaseError, OSError, ValueError) as error:
            # The first line says it; below it stands what only its makers understand.
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise NotDelivered(f"the bucket does not take it: {reason}") from error
