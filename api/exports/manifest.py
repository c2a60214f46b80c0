"""What an export says of itself: `GET /api/v1/exports/{id}`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from aiohttp import web

from aggregators.definitions import BY_NAME
from api import ranges
from api.auth.principal import Principal, caller
from api.errors import Problem
from api.questions import QueryParameters
from api.report_requests import requester
from api.routing import described, json_answer
from api.services import services
from storage.exports import StoredExport, stored_export
from storage.rollup_query import Question
from storage.rollup_stream import RowStream

PATH = "/api/v1/exports"
ExportFormat = Literal["csv", "parquet", "xlsx"]


class ExportParameters(msgspec.Struct, kw_only=True):
    """All rows of a question to one rollup, as a file. The parameters are those of `/api/v1/query`, without `limit` and `cursor`."""

    rollup: Annotated[str, described(enum=tuple(BY_NAME))]
    format: ExportFormat = "csv"
    measures: Annotated[str, described("avg,max,p95", "trades,net")] | None = None
    group_by: Annotated[str, described("host", "symbol,currency")] | None = None
    filter: list[Annotated[str, described("metric:cpu_usage", "currency:USD,EUR")]] = []
    from_: ranges.Moment | None = msgspec.field(name="from", default=None)
    to: ranges.Moment | None = None
    grain: Literal["1m", "5m", "15m", "1h", "1d", "1w", "1mo"] | None = None
    tz: ranges.Zone | None = None
    fill: Literal["null", "zero"] | None = None

    def query(self) -> QueryParameters:
        """The same as a query."""
        values = msgspec.structs.asdict(self)
        return QueryParameters(**{name: value for name, value in values.items() if name != "format"})


class ExportQuestion(msgspec.Struct, kw_only=True):
    """What was read: `from` and `to` widened to whole stored buckets; `filter` has what narrows it to its caller's own trades, too."""

    from_: str = msgspec.field(name="from")
    to: str
    grain: str | None
    tz: str
    measures: list[str]
    group_by: list[str]
    filter: Mapping[str, list[str]]
    fill: str | None


class Manifest(msgspec.Struct, kw_only=True):
    """An export. Only a `complete` one has `rows`, `bytes` and `sha256` (hexadecimal, of the content before any Content-Encoding).

    `as_of`: all events accepted up to then are in it. `error` says why one failed.
    """

    id: UUID
    status: Literal["running", "complete", "failed"]
    rollup: str
    format: ExportFormat
    question: ExportQuestion
    columns: list[str]
    rows: int | None
    bytes: int | None
    sha256: str | None
    as_of: dt.datetime
    created_at: dt.datetime
    finished_at: dt.datetime | None
    error: str | None


def resolved_question(question: Question, stream: RowStream, fill: str | None) -> ExportQuestion:
    """The question with every default put in."""
    return ExportQuestion(
        from_=stream.start.astimezone(question.tz).isoformat(),
        to=stream.end.astimezone(question.tz).isoformat(),
        grain=question.grain,
        tz=question.tz.key,
        measures=list(question.measures),
        group_by=list(question.group_by),
        filter={key: list(values) for key, values in question.filters.items()},
        fill=fill,
    )


def _may_see(principal: Principal, found: StoredExport) -> bool:
    """Whoever could have asked for it: of exports of trades a member sees only those that they asked for."""
    if principal.role != "member" or found.requested_by == requester(principal):
        return True
    return found.rollup in BY_NAME and BY_NAME[found.rollup].event != "trade"


async def manifest(request: web.Request) -> web.StreamResponse:
    """Whether the file is whole, and its rows and checksum."""
    none = Problem(404, "there is no export with this id")
    try:
        id_ = UUID(request.match_info["id"])
    except ValueError:
        raise none from None
    principal = caller(request)
    found = await stored_export(services(request).database, principal.organization, id_)
    if found is None or not _may_see(principal, found):
        raise none
    answer = Manifest(
        id=found.id,
        status=found.status,  # type: ignore[arg-type]
        rollup=found.rollup,
        format=found.format,  # type: ignore[arg-type]
        question=msgspec.json.decode(found.question, type=ExportQuestion),
        columns=found.columns,
        rows=found.rows,
        bytes=found.size,
        sha256=found.sha256.hex() if found.sha256 else None,
        as_of=found.as_of,
        created_at=found.created_at,
        finished_at=found.finished_at,
        error=found.error,
    )
    return json_answer(answer, headers={"Cache-Control": "private, no-store"})
