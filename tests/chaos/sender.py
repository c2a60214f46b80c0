"""A sender as ours and others' are: it sends a batch again, as it was, until it is told that it was accepted."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.samples import Sample, body

_JSON = msgspec.json.Encoder(decimal_format="number")


@dataclass
class Answers:
    """What the service said: how often it took a batch, was not there (no answer), or could not take it (503)."""

    taken: int = 0
    unreachable: int = 0
    unavailable: int = 0
    longest_s: float = 0.0


@dataclass
class Sender:
    """Sends the events of one organization, one batch at a time, in order."""

    port: int
    key: str
    ended: threading.Event
    accepted: list[Sample] = field(default_factory=list)
    answers: Answers = field(default_factory=Answers)

    def send(self, samples: Sequence[Sample], patience_s: float = 120.0) -> None:
        """Sends until all are accepted. Raises AssertionError where one is refused, or none is taken for too long."""
        if not samples:
            return
        begun = time.monotonic()
        while True:
            status, headers, answer = self.post(body(samples))
            if status == 202:
                assert answer == {"accepted": len(samples), "rejected": []}, answer
                self.answers.taken += 1
                self.answers.longest_s = max(self.answers.longest_s, time.monotonic() - begun)
                self.accepted.extend(samples)
                return
            self._may_fail(status, headers, answer)
            if time.monotonic() - begun > patience_s:
                raise AssertionError(f"not taken within {patience_s} s: {status} {answer}")
            # What Retry-After asks for would make the tests slow; they ask more often.
            self.ended.wait(0.2)

    def send_garbled(self, events: Sequence[dict[str, Any]], good: Sequence[Sample], patience_s: float = 120.0) -> None:
        """Sends events that must be refused, each by itself, among good ones that must be accepted."""
        text = _JSON.encode([*events, *(sample.event for sample in good)])
        deadline = time.monotonic() + patience_s
        while True:
            status, headers, answer = self.post(text)
            if status in (202, 422):
                assert answer["accepted"] == len(good), answer
                assert [one["index"] for one in answer["rejected"]] == list(range(len(events))), answer
                self.accepted.extend(good)
                return
            self._may_fail(status, headers, answer)
            assert time.monotonic() < deadline, f"not taken: {status} {answer}"
            self.ended.wait(0.2)

    def post(self, text: bytes, seconds: float = 60.0) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of an answer; status 0 where there was none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request("POST", "/api/v1/events", text, headers)
            answer = connection.getresponse()
            read = answer.read()
            return answer.status, dict(answer.headers), json.loads(read)
        except (OSError, http.client.HTTPException) as error:
            return 0, {}, repr(error)
        finally:
            connection.close()

    def _may_fail(self, status: int, headers: dict[str, str], answer: Any) -> None:
        """No answer, or a 503 that says when to come again: anything else is a fault."""
        if status == 0:
            self.answers.unreachable += 1
            return
        assert status == 503, f"{status} {answer}"
        assert int(headers["Retry-After"]) >= 1, headers
        self.answers.unavailable += 1


class Background:
    """Work in a thread while a test does something else; its error is the test's."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self._thread.join(180)
        assert not self._thread.is_alive(), "the work in the background does not end"
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error
