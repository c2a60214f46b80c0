"""`/api/v1/exports`: whole answers as files, and what each says of itself."""

from __future__ import annotations

from aiohttp import web

from api.auth.principal import caller
from api.errors import Problem
from api.exports.bounds import Slots
from api.exports.making import MEDIA, Export
from api.exports.manifest import PATH, ExportParameters, Manifest, manifest
from api.routing import Route, parse_query
from api.services import services

SLOTS = web.AppKey("exports", Slots)
"""Where the application holds those that are under way."""


async def export(request: web.Request) -> web.StreamResponse:
    """All rows of a question to one rollup, from one snapshot, in the order of `/api/v1/query`.

    `X-Export-ID` and `Link` name the manifest, which says once it is `complete` how many rows and which checksum the file has. An
    answer that cannot be finished ends with its connection: a chunked body without its last chunk, or less than Content-Length.
    """
    parameters = parse_query(request, ExportParameters)
    if parameters.format == "xlsx" and services(request).write_workbook is None:
        raise Problem(400, "format: workbooks are not written here", parameter="format")
    slots = request.app[SLOTS]
    with slots.slot(caller(request).organization):
        return await Export(request, parameters, slots).answer()


ROUTES = [
    Route(
        "GET",
        PATH,
        export,
        "A rollup's rows as a file",
        query=ExportParameters,
        media="text/csv",
        tags=("reading",),
        errors=(403, 422, 504),
        also={200: {MEDIA["parquet"]: str, MEDIA["xlsx"]: str}},
    ),
    Route(
        "GET",
        PATH + "/{id}",
        manifest,
        "An export's manifest",
        answer=Manifest,
        tags=("reading",),
        errors=(404,),
        identifiers=True,
    ),
]
