"""What is noted of those who come in, beside their requests: when a key was used, who entered which organization, who failed."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import structlog

from api.auth.principal import Principal
from storage.api_keys import USE_WRITTEN_EVERY, note_use
from storage.audit import Actor, record, record_at_home
from storage.database import Database, QueryTooSlow, StorageUnavailable
from storage.identity import find_access
from storage.sessions import find_browser_session

log = structlog.get_logger(__name__)

MOST_KNOWN = 10_000
MOST_FAILURES_A_MINUTE = 60

_K = TypeVar("_K")


class _Lately(Generic[_K]):
    """Says once in a while that something is due; what came longest ago is forgotten."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._noted: OrderedDict[_K, float] = OrderedDict()

    def due(self, key: _K) -> bool:
        now, noted = self._clock(), self._noted.get(key)
        if noted is not None and now - noted < self._seconds:
            return False
        self._noted[key] = now
        self._noted.move_to_end(key)
        if len(self._noted) > MOST_KNOWN:
            self._noted.popitem(last=False)
        return True

    def forget(self, key: _K) -> None:
        self._noted.pop(key, None)


class Arrivals:
    """Notes without making anybody wait. What cannot be written is told to the log; `settled` waits for what is under way."""

    def __init__(
        self, database: Database, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database, self._now, self._clock = database, now, clock
        self._keys: _Lately[str] = _Lately(USE_WRITTEN_EVERY.total_seconds(), clock)
        self._entries: _Lately[tuple[UUID, UUID]] = _Lately(60.0, clock)
        self._used: set[str] = set()
        self._writing_use = False
        self._failures: deque[float] = deque()
        self._left_out = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, principal: Principal, *, by_header: bool, address: str | None) -> None:
        """Somebody was let in; `by_header` where the request names an organization."""
        if principal.key is not None:
            if self._keys.due(principal.key):
                self._used.add(principal.key)
                if not self._writing_use:
                    self._writing_use = True
                    self._start(self._write_use())
            return
        account = principal.account
        if by_header and account is not None and self._entries.due((account, principal.organization)):
            self._start(self._enter(principal, account, address))

    def failed(self, account: UUID | None, who: str | None, address: str | None, reason: str) -> None:
        """Somebody could not sign in. Beyond so many a minute entries are only counted, and the next one tells how many."""
        now = self._clock()
        while self._failures and now - self._failures[0] >= 60.0:
            self._failures.popleft()
        if len(self._failures) >= MOST_FAILURES_A_MINUTE:
            self._left_out += 1
            return
        self._failures.append(now)
        left_out, self._left_out = self._left_out, 0
        more = {"left_out": left_out} if left_out else {}
        self._start(self._fail(Actor(account, who, address, self._now()), {"reason": reason, **more}))

    async def settled(self) -> None:
        """Returns once everything that was noted is written, or could not be."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def _write_use(self) -> None:
        try:
            while self._used:
                prefixes, self._used = self._used, set()
                try:
                    await note_use(self._database, prefixes, now=self._now())
                except BaseException:
                    for prefix in prefixes:
                        self._keys.forget(prefix)
                    raise
        finally:
            self._writing_use = False

    async def _enter(self, principal: Principal, account: UUID, address: str | None) -> None:
        """To name the organization that one is in anyway is no entry."""
        now = self._now()
        if principal.session is not None:
            session = await find_browser_session(self._database, principal.session, now=now)
            home = None if session is None else session.organization
        else:
            access = await find_access(self._database, account, None)
            home = None if access is None else access.organization
        if home == principal.organization:
            return
        async with self._database.identity() as connection:
            by = Actor(account, principal.email, address, now)
            await record(connection, "organization.enter", by, organization=principal.organization, role=principal.role)

    async def _fail(self, by: Actor, details: dict[str, Any]) -> None:
        async with self._database.identity() as connection:
            await record_at_home(connection, "sign_in.fail", by, subject=by.name, **details)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_told(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _told(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except (StorageUnavailable, QueryTooSlow) as error:
        log.warning("arrival_not_noted", reason=str(error))
    except Exception:
        log.exception("arrival_not_noted")
