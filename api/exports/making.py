"""One export: a question in one snapshot, its rows to the reader as they are read, or into a file first."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import structlog
from aiohttp import HttpVersion11, web

from api.auth.principal import caller
from api.csv_text import csv_text
from api.errors import Problem
from api.exports.bounds import STOPPED, Slots
from api.exports.folders import Folder, NoRoom, room_needed
from api.exports.manifest import PATH, ExportParameters, resolved_question
from api.exports.sending import ReaderTooSlow, Sending
from api.exports.spool import RowFiles, digest_of
from api.freshness import COMPLETE, stamp
from api.middlewares.observe import may_take
from api.questions import parse, rollup_named, shown_rows, without_absent
from api.report_requests import requester
from api.services import services
from api.visibility import narrowed
from storage.database import QueryTooSlow, StorageUnavailable
from storage.exports import ExportEnded, NewExport, begin_export, complete_export, fail_export
from storage.feed import watermark
from storage.rollup_query import BadQuery, Question
from storage.rollup_stream import Fetched, RowStream, stream_rows

log = structlog.get_logger(__name__)

MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_PIECE = 256 * 1024
_ENDING_S = 30
"""For what is left to do where an export took too long."""
_T = TypeVar("_T")


class Export:
    """A request's export on its way."""

    def __init__(self, request: web.Request, parameters: ExportParameters, slots: Slots) -> None:
        self._request = request
        self._parameters = parameters
        self._slots = slots
        self._parts = services(request)
        self._bounds = self._parts.exports
        self._organization = caller(request).organization
        self._id = uuid4()
        self._begun = False
        self._given_up = False
        self._sending: Sending | None = None
        self._writing: asyncio.Future[bytes] | None = None

    async def answer(self) -> web.StreamResponse:
        """The file, whole, or cut with its connection; raises Problem, or what stands for one, where nothing was sent yet."""
        try:
            async with asyncio.timeout(self._bounds.longest_s):
                return await self._made()
        except BaseException as error:
            gone = self._gone()
            if self._sending is not None:
                self._sending.cut()
            if self._begun:
                await asyncio.shield(self._failed(self._reason(error, gone)))
            stopped = isinstance(error, asyncio.CancelledError) and self._slots.stopping
            if self._sending is None and (stopped or isinstance(error, NoRoom)):
                raise Problem(503, self._reason(error, gone), headers={"Retry-After": "30"}) from None
            if self._sending is None and isinstance(error, TimeoutError | ConnectionError):
                raise Problem(504, self._reason(error, gone)) from None
            if self._sending is None or not isinstance(error, Exception):
                raise
            return self._sending.response

    async def _failed(self, reason: str) -> None:
        log.warning("export_failed", export=str(self._id), reason=reason)
        # Where the database is away, the jobs say so later.
        with contextlib.suppress(StorageUnavailable, QueryTooSlow):
            await fail_export(self._parts.database, self._organization, self._id, reason, now=self._parts.now())

    def _reason(self, error: BaseException, gone: bool) -> str:
        match error:
            case Problem():
                return error.detail
            case ReaderTooSlow() | ExportEnded():
                return str(error)
            case TimeoutError():
                return f"it took longer than {self._bounds.longest_s:g} s"
            case ConnectionError():
                return "the reader went away"
            case NoRoom():
                return "there was no room on the disk"
            case StorageUnavailable():
                return "the database was lost in the middle"
            case QueryTooSlow():
                return "the database took too long"
            case asyncio.CancelledError():
                return "the reader went away" if gone and not self._slots.stopping else STOPPED
        log.error("export_broke", export=str(self._id), exc_info=error)
        return "something went wrong here"

    async def _made(self) -> web.StreamResponse:
        parameters, parts = self._parameters, self._parts
        rollup = rollup_named(parameters.rollup)
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(
                parts.database.snapshot(
                    self._organization, statement_s=self._bounds.statement_s, silent_s=self._bounds.silent_s
                )
            )
            mark = await watermark(connection, rollup.event)
            question = parse(parameters.query(), now=parts.now(), default_zone=mark.time_zone, bulk=True)
            question = narrowed(question, caller(self._request))
            try:
                stream = await stack.enter_async_context(stream_rows(connection, question, parameters.fill))
            except BadQuery as error:
                raise Problem(400, str(error), parameter=error.parameter) from None
            # An answer whose first rows cannot be had is refused as one, with a status of its own.
            first = await stream.fetch()
            asked = resolved_question(question, stream, parameters.fill)
            await begin_export(
                parts.database,
                self._organization,
                NewExport(
                    id=self._id,
                    rollup=rollup.name,
                    format=parameters.format,
                    question=msgspec.json.encode(asked).decode(),
                    columns=[column.name for column in stream.columns],
                    requested_by=requester(caller(self._request)),
                    as_of=mark.as_of,
                    created_at=parts.now(),
                ),
            )
            self._begun = True
            headers = {
                "Content-Type": MEDIA[parameters.format],
                "Content-Disposition": (
                    f'attachment; filename="{rollup.name}-{asked.from_[:10]}-{asked.to[:10]}.{parameters.format}"'
                ),
                "X-As-Of": stamp(max(mark.as_of, self._request[COMPLETE])),
                "X-Export-ID": str(self._id),
                "Link": f'<{PATH}/{self._id}>; rel="describedby"',
                "Cache-Control": "private, no-store",
            }
            # Only HTTP/1.1 tells a body that was cut from one that is over, where its length is not known before.
            if parameters.format == "csv" and self._request.version >= HttpVersion11:
                return await self._streamed(question, stream, first, headers)
            folder = Folder()
            try:
                with room_needed(folder.place):
                    spool = await self._spooled(question, stream, first, folder.place)
                    # What follows needs no snapshot.
                    await stack.aclose()
                    return await self._sent(question, spool, folder.place, headers)
            finally:
                self._given_up = True
                await asyncio.shield(self._slots.removal(self._removed(folder)))

    async def _removed(self, folder: Folder) -> None:
        """Removes what was put on the disk, once nobody writes there."""
        try:
            if self._writing is not None:
                # How it ended is the answer's matter.
                await asyncio.gather(self._writing, return_exceptions=True)
            await asyncio.to_thread(folder.remove)
        except asyncio.CancelledError:
            # The service stops: nobody else would do it.
            folder.remove()
            raise

    async def _streamed(
        self, question: Question, stream: RowStream, first: Fetched, headers: dict[str, str]
    ) -> web.StreamResponse:
        """CSV as it is read: the next rows are fetched when the reader has taken those before."""
        sending = Sending(self._request, web.StreamResponse(headers=headers), self._bounds)
        self._sending = sending
        await sending.begin()
        await sending.write(_encoded([[column.name for column in stream.columns]]))
        rows, found = 0, first
        while True:
            pieces = stream.read(found)

            def piece() -> tuple[int, bytes] | None:
                read = next(pieces, None)  # noqa: B023  (awaited before the next turn)
                return None if read is None else (len(read), _encoded(shown_rows(question, read)))

            while (made := await self._apart(piece)) is not None:
                rows += made[0]
                await sending.write(made[1])
                await stream.stay(self._bounds.heard_s)
            if not found:
                break
            found = await stream.fetch()
        await self._complete(rows, sending.size, sending.digest.digest())
        await sending.response.write_eof()
        return sending.response

    async def _spooled(self, question: Question, stream: RowStream, first: Fetched, folder: Path) -> RowFiles:
        """All rows on the disk. Raises Problem where they are more than there is room for."""
        may_take(self._request, self._bounds.longest_s + _ENDING_S)
        spool, found = RowFiles(folder, stream.columns), first
        while True:
            pieces = stream.read(found)

            def piece() -> bool:
                read = next(pieces, None)  # noqa: B023
                if read is not None:
                    spool.add(without_absent(question, read))
                return read is not None

            while await self._apart(piece):
                self._check(spool)
                await stream.stay(self._bounds.heard_s)
            if not found:
                return spool
            found = await stream.fetch()

    def _check(self, spool: RowFiles) -> None:
        most = self._bounds.sheet_rows
        if self._parameters.format == "xlsx" and spool.rows > most:
            raise Problem(
                422, f"format: a sheet holds at most {most:,} rows; ask for csv or parquet", parameter="format"
            )
        if spool.size > self._bounds.spool_bytes:
            raise Problem(422, "format: there is no room for so much at once; ask for csv", parameter="format")
        spool.require_room(self._bounds.spare_bytes)
        if self._gone():
            raise ConnectionResetError("the reader went away")

    def _gone(self) -> bool:
        return self._request.transport is None or self._request.transport.is_closing()

    async def _sent(
        self, question: Question, spool: RowFiles, folder: Path, headers: dict[str, str]
    ) -> web.StreamResponse:
        place = folder / "whole"
        self._writing = asyncio.get_running_loop().run_in_executor(
            self._slots.writers, lambda: self._write(question, spool, place)
        )
        digest = await asyncio.shield(self._writing)
        size = place.stat().st_size
        headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(digest).decode()}:"
        headers["X-Export-Rows"] = str(spool.rows)
        response = web.StreamResponse(headers=headers)
        response.content_length = size
        sending = Sending(self._request, response, self._bounds)
        self._sending = sending
        await sending.begin()
        with place.open("rb") as file:
            while piece := await self._apart(lambda: file.read(_PIECE)):
                if sending.size + len(piece) == size:
                    # Before its last bytes: whoever has them all finds it complete.
                    await self._complete(spool.rows, size, digest)
                await sending.write(piece)
        await response.write_eof()
        return response

    def _write(self, question: Question, spool: RowFiles, place: Path) -> bytes:
        """Writes the file, and returns its SHA-256."""
        match self._parameters.format:
            case "parquet":
                spool.parquet(place)
            case "csv":
                spool.csv(place, _encoded, question.tz, lambda: self._given_up)
            case "xlsx":
                writer = self._parts.write_workbook
                assert writer is not None
                spool.workbook(place, writer, question.rollup.name, question.tz, lambda: self._given_up)
        return digest_of(place)

    async def _complete(self, rows: int, size: int, digest: bytes) -> None:
        database, now = self._parts.database, self._parts.now()
        await complete_export(database, self._organization, self._id, rows=rows, size=size, sha256=digest, now=now)
        self._begun = False  # whatever happens to the last bytes, the manifest is what it is

    async def _apart(self, work: Callable[[], _T]) -> _T:
        """Does what takes long enough to be felt beside the event loop, in the one thread that exports have."""
        return await asyncio.get_running_loop().run_in_executor(self._slots.thread, work)


def _encoded(rows: list[list[Any]]) -> bytes:
    return csv_text(rows).encode()
