"""The HTTP client of `POST /api/v1/events`: batches in order, one in flight, retried until they are answered."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from random import Random
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
import structlog

from ingest.collectors.backoff import Backoff, retry_after
from ingest.events import Event
from ingest.events.decode import Rejection

BATCH_EVENTS = 1_000
"""Events in one request."""

BATCH_BYTES = 4 * 1024 * 1024
"""Size of one request's body, in bytes, unless a single event is larger."""

_PATH = "/api/v1/events"
_RETRIED = frozenset({408, 429})
_LOUD_ATTEMPT = 3  # a short back-pressure is everyday business; an outage is not
_log = structlog.get_logger(__name__)

Sendable = Event | Mapping[str, Any] | msgspec.Raw
"""An event: typed, as a plain mapping in the CloudEvents shape, or as JSON that is encoded already."""


class CollectorError(Exception):
    """The events could not be handed to the server."""


class Refused(CollectorError):
    """The server answered, and the same request would get the same answer again: a wrong key, a wrong address, a body too large.

    `status` is HTTP's, `detail` the server's own words; a status of 0 means that no request could be made.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the server refused the request ({status}): {detail}" if status else detail)
        self.status = status
        self.detail = detail


class Unreachable(CollectorError):
    """The server was away, or had no room, for longer than the client's patience. What was not answered may be sent again."""


class Receipt(msgspec.Struct):
    """What the server made of a list of events: how many it accepted, and why not the others (`index` counts in that list)."""

    accepted: int
    rejected: list[Rejection] = []


class _Position(msgspec.Struct):
    sequence: int | None


class Client:
    """Sends events to a Streamgauge server, in order and one request at a time, whoever calls.

    Connection errors, 408, 429 and 5xx are retried with `backoff`, waiting at least as long as `Retry-After` says; a request that
    was committed but whose answer was lost is therefore sent twice, which is why events carry a sequence or an id of their own.
    `patience` is how long one request is retried, in seconds; None is for ever.
    Use it as an asynchronous context manager.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        random: Random,
        backoff: Backoff | None = None,
        patience: float | None = 300.0,
        timeout: float = 60.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._backoff = backoff or Backoff()
        self._random = random
        self._patience = patience
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=min(10.0, timeout))
        self._sleep = sleep
        self._monotonic = monotonic
        self._session: aiohttp.ClientSession | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, events: Sequence[Sendable]) -> Receipt:
        """Sends the events, 1,000 and 4 MiB a request at most, and returns once all are answered.

        Raises Refused or Unreachable; what was answered before that is accepted, and may safely be sent again.
        """
        total = Receipt(0, [])
        async with self._one_at_a_time:
            for first, body in _bodies(events):
                receipt = await self._post(body)
                total.accepted += receipt.accepted
                total.rejected += (msgspec.structs.replace(one, index=one.index + first) for one in receipt.rejected)
        return total

    async def publish(self, events: Sequence[Event]) -> None:
        """Sends the events of a running collector. Rejected ones are logged with the first reason: trying again would not help."""
        receipt = await self.send(events)
        if receipt.rejected:
            _log.warning("events_rejected", count=len(receipt.rejected), first=receipt.rejected[0].error)

    async def sequence(self, kind: str, source: str) -> int | None:
        """Returns the highest sequence that the server holds of a source, or None where it holds none. Raises as `send` does."""
        status, body = await self._request("GET", f"{_PATH}/sequence", params={"type": kind, "source": source})
        try:
            return msgspec.json.decode(body, type=_Position).sequence
        except msgspec.DecodeError:
            raise Refused(status, f"expected a sequence, got {_shortened(body)}") from None

    async def _post(self, body: bytes) -> Receipt:
        headers = {"Content-Type": "application/cloudevents-batch+json"}
        status, answer = await self._request("POST", _PATH, body=body, headers=headers, also={422})
        try:
            return msgspec.json.decode(answer, type=Receipt)
        except msgspec.DecodeError:
            raise Refused(status, _detail(answer)) from None

    async def _request(
        self, method: str, path: str, *, body: bytes | None = None, also: Collection[int] = (), **options: Any
    ) -> tuple[int, bytes]:
        """Makes one request until it is answered; a 2xx or a status of `also` is handed back."""
        assert self._session is not None, "the client is used as an asynchronous context manager"
        started = self._monotonic()
        attempt = 0
        while True:
            asked = 0.0
            try:
                # A stream, which aiohttp sends piece by piece while other tasks go on; made anew, for an attempt uses it up.
                options["data"] = io.BytesIO(body) if body is not None else None
                # A redirected POST would arrive as a GET without its body, so none is followed.
                async with self._session.request(method, self._url + path, allow_redirects=False, **options) as answer:
                    found = await answer.read()
                if answer.status < 300 or answer.status in also:
                    if attempt >= _LOUD_ATTEMPT:
                        _log.info(
                            "server_takes_events_again", url=self._url, seconds=round(self._monotonic() - started, 1)
                        )
                    return answer.status, found
                if answer.status < 500 and answer.status not in _RETRIED:
                    raise Refused(
                        answer.status, _detail(found) or f"{answer.reason} {answer.headers.get('Location', '')}".strip()
                    )
                problem = f"{answer.status} {_detail(found) or answer.reason}"
                asked = retry_after(answer.headers)
            except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
                raise Refused(0, f"{self._url} is no address of a server") from None
            except aiohttp.ClientSSLError as error:
                raise Refused(0, f"{self._url} shows no valid certificate: {error}") from None
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            delay = max(asked, self._backoff.delay(attempt, self._random))
            waited = self._monotonic() - started
            if self._patience is not None and waited + delay > self._patience:
                raise Unreachable(f"{self._url} did not answer for {waited:.0f} s: {problem}")
            attempt += 1
            if attempt == _LOUD_ATTEMPT:
                _log.warning("server_does_not_take_events", url=self._url, problem=problem)
            await self._sleep(delay)


def _bodies(events: Sequence[Sendable]) -> list[tuple[int, bytes]]:
    """Cuts a list of events into request bodies, each with the position of its first event in the list."""
    bodies: list[tuple[int, bytes]] = []
    pieces: list[bytes] = []
    size = first = 0
    for index, event in enumerate(events):
        piece = msgspec.json.encode(event)
        if pieces and (len(pieces) >= BATCH_EVENTS or size + len(piece) > BATCH_BYTES):
            bodies.append((first, b"[" + b",".join(pieces) + b"]"))
            pieces, size, first = [], 0, index
        pieces.append(piece)
        size += len(piece) + 1
    if pieces:
        bodies.append((first, b"[" + b",".join(pieces) + b"]"))
    return bodies


def _detail(body: bytes) -> str:
    """Finds the server's words in a problem document, or shows the beginning of whatever it sent."""
    try:
        problem = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return _shortened(body)
    if isinstance(problem, dict):
        for name in ("detail", "error", "message", "title"):
            if isinstance(problem.get(name), str):
                return str(problem[name])[:500]
    return _shortened(body)


def _shortened(body: bytes) -> str:
    return body[:200].decode("utf-8", "replace").strip()
