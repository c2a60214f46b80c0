"""Makes the reports that were asked for: claims a run, reads it in one snapshot, has it rendered, and stores the file once."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Protocol, cast
from uuid import UUID

import msgspec
import structlog

from jobs.hands import Hands, Lease
from jobs.reports.parameters import BadParameters, ReportParameters
from jobs.reports.pool import RenderFailed, RenderPool
from jobs.reports.render import CONTENT_TYPES, ENDINGS, Format
from jobs.reports.report import Report
from storage.archive import Archive, ArchiveUnavailable
from storage.database import Database, QueryTooSlow, StorageUnavailable
from storage.filled import NotFilled
from storage.notices import REPORT_ASKED, REPORT_OVER, NoticeListener
from storage.report_work import Artefact, ClaimedRun, ReportWork, Step

log = structlog.get_logger(__name__)

LEASE_S = 30.0
"""A run whose maker was not heard for so long is another's to claim."""
LOOK_S = 5.0
"""How often is looked for runs that no notice told of: those whose maker died."""
SAY_S = 1.0
"""How often is looked at most whether a report that is being rendered came further."""
LARGEST_BYTES = 64 * 1024 * 1024
"""Of a file that is kept."""


class Renderer(Protocol):
    """What turns a report into bytes (see RenderPool)."""

    async def render(self, report: Report, form: Format) -> bytes:
        """The report in a format."""


Done = Callable[[Report], float | None]
"""Which part of a report is rendered, 0 to 1 (see RenderPool.done)."""


class FileTooLarge(ValueError):
    """The report has more bytes than are kept."""


@asynccontextmanager
async def report_runs(
    database: Database,
    *,
    processes: int,
    fonts: tuple[str, ...] = (),
    now: Callable[[], dt.datetime],
    archive: Archive | None = None,
) -> AsyncIterator[None]:
    """Makes reports while the block does, so many at once. Any number of processes may: each run is one's at a time.

    What is not finished at the end is another's to claim at once. The processes that render start with the first report. `fonts` are
    folders with more fonts for PDFs.
    """
    pool = RenderPool(processes, fonts=fonts)
    try:
        async with making_reports(database, pool, at_once=processes, now=now, done=pool.done, archive=archive):
            yield
    finally:
        await pool.close(at_once=True)


@asynccontextmanager
async def making_reports(
    database: Database,
    renderer: Renderer,
    *,
    at_once: int,
    now: Callable[[], dt.datetime],
    lease_s: float = LEASE_S,
    look_s: float = LOOK_S,
    done: Done = lambda _: None,
    archive: Archive | None = None,
) -> AsyncIterator[None]:
    """The same with a renderer of one's own. `done` tells which part of a report that it renders is done, where that is known."""
    maker = ReportMaker(database, renderer, now=now, lease_s=lease_s, done=done, archive=archive)
    hands = Hands("report", maker.claim, lease_s=lease_s, look_s=look_s)

    def heard(channel: str, payload: str) -> None:
        if channel == REPORT_ASKED:
            hands.look()
        else:
            maker.over(payload)

    listener = NoticeListener(database, (REPORT_ASKED, REPORT_OVER), heard, hands.look)
    await listener.start()
    try:
        async with hands.at_work(at_once):
            yield
    finally:
        await listener.stop()


class ReportMaker:
    """The runs that this process makes."""

    def __init__(
        self,
        database: Database,
        renderer: Renderer,
        *,
        now: Callable[[], dt.datetime],
        lease_s: float,
        done: Done,
        archive: Archive | None,
    ) -> None:
        self._database = database
        self._renderer = renderer
        self._done = done
        self._now = now
        self._archive = archive
        self._work = ReportWork(database, lease_s=lease_s)
        self._made: dict[UUID, asyncio.Task[Any]] = {}

    async def claim(self) -> Lease | None:
        """The next run to make, for one of the Hands."""
        run = await self._work.claim(self._now())
        if run is None:
            return None
        return Lease(
            {"run": str(run.id)},
            work=partial(self._make, run),
            renew=partial(self._work.renew, run),
            release=partial(self._work.release, run),
        )

    def over(self, id_: str) -> None:
        """A run is over: one that is being made here was cancelled then, unless its maker said so itself."""
        try:
            making = self._made.get(UUID(id_))
        except ValueError:
            log.warning("notice_not_understood", channel=REPORT_OVER)
            return
        if making is not None:
            making.cancel()

    async def _make(self, run: ClaimedRun) -> None:
        try:
            with self._until_over(run):
                made = await self._artefact(run)
        except Exception as error:
            reason, status = reason_of(error)
            log.error(
                "report_failed",
                run=str(run.id),
                type=run.type,
                format=run.format,
                status=status,
                reason=reason,
                exc_info=status == 500,
            )
            await self._work.fail(run, reason, status, self._now())
            return
        await self._say(run, "storing")
        await self._work.finish(run, made, self._now())

    @contextmanager
    def _until_over(self, run: ClaimedRun) -> Iterator[None]:
        """A notice that the run is over stops this task within the block. After it the notice may be its own, and is no reason to stop."""
        making = asyncio.current_task()
        assert making is not None
        self._made[run.id] = making
        try:
            yield
        finally:
            self._made.pop(run.id, None)

    async def _say(self, run: ClaimedRun, step: Step, fraction: float | None = None) -> None:
        """Says how far it is. The report is made all the same where that could not be said."""
        try:
            await self._work.move(run, step, fraction)
        except (StorageUnavailable, QueryTooSlow) as error:
            log.warning("report_step_not_told", run=str(run.id), step=step, reason=str(error))

    async def _artefact(self, run: ClaimedRun) -> Artefact:
        # The reports' code is loaded where the first one is made, in a thread: a service that nobody asks for one starts without it.
        build, document = await asyncio.to_thread(_reports)
        parameters = msgspec.json.decode(run.parameters, type=ReportParameters)
        if run.own is not None and run.type == "pnl":
            own = {"user_id": tuple(run.own)}
            parameters = msgspec.structs.replace(parameters, filters={**own, **parameters.filters})
            if not set(parameters.filters["user_id"]) <= set(run.own):
                raise BadParameters("filters", "members see their own trades")
        report = await build(run.type, self._database, run.organization, parameters, self._now(), self._archive)
        await self._say(run, "rendering")
        data = await self._rendered(run, report)
        if len(data) > LARGEST_BYTES:
            raise FileTooLarge(f"it has {len(data):,} bytes; at most {LARGEST_BYTES:,} are kept: ask for fewer days")
        told = document(report)
        summary = {name: told[name] for name in ("summary", "metrics", "recommendations", "as_of", "generated_at")}
        name = f"{run.type}-{report.first}-{report.last}.{ENDINGS[run.format]}"
        return Artefact(_JSON.encode(summary).decode(), data, CONTENT_TYPES[run.format], name)

    async def _rendered(self, run: ClaimedRun, report: Report) -> bytes:
        """The file; says meanwhile which part of it is done, each time that it is another twentieth and once a second at most."""
        rendering = asyncio.create_task(self._renderer.render(report, run.format), name=f"rendering-{run.id}")
        said = 0.0
        try:
            while not (await asyncio.wait({rendering}, timeout=SAY_S))[0]:
                done = self._done(report)
                if done is not None and done >= said + 0.05:
                    said = done
                    await self._say(run, "rendering", round(done, 2))
            return rendering.result()
        finally:
            rendering.cancel()


_JSON = msgspec.json.Encoder(decimal_format="number")


def _reports() -> tuple[Callable[..., Any], Callable[[Report], dict[str, Any]]]:
    from jobs.reports.build import build
    from jobs.reports.encode_json import report_document

    return cast(Callable[..., Any], build), report_document


def reason_of(error: Exception) -> tuple[str, int]:
    """Why there is no report, safe to be shown, and the status of an HTTP answer that says so."""
    if isinstance(error, BadParameters):
        return str(error), 400
    if isinstance(error, QueryTooSlow):
        return f"{error}; ask for fewer days", 504
    if isinstance(error, NotFilled | ArchiveUnavailable):
        return str(error), 503
    if isinstance(error, StorageUnavailable):
        return "the database could not be read; try again", 503
    if isinstance(error, RenderFailed):
        return str(error), 503
    if isinstance(error, FileTooLarge) or type(error).__name__ in ("TooManyRows", "MissingGlyph"):
        return str(error), 422
    return "it could not be made: an error of the service, which is in its log", 500
