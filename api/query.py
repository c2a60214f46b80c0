"""`/api/v1/query` and `/api/v1/rollups`: any rollup, as JSON or CSV, and the catalogue of what there is."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
from aiohttp import web

from aggregators.calendar import ASKED_GRAINS
from aggregators.definitions import ROLLUPS
from aggregators.rollup import Rollup
from api.auth.principal import caller
from api.errors import Problem
from api.freshness import fresh
from api.questions import Answer, QueryParameters, answer, parse, rollup_named
from api.routing import Route, json_answer, parse_query
from api.services import services
from api.visibility import narrowed
from ingest.events import enterprise, system
from storage.feed import watermark


class CatalogueMeasure(msgspec.Struct):
    """One figure. `kind`: stored, derived (computed when read) or sketched (estimated within a stated error)."""

    name: str
    kind: str
    unit: str | None
    doc: str
    grains: list[str]


class CatalogueEntry(msgspec.Struct):
    """One rollup: what it is keyed by, what it measures, how finely it is kept. `units` gives a known metric's unit by its name."""

    name: str
    event: str
    doc: str
    keys: list[str]
    grains: list[str]
    measures: list[CatalogueMeasure]
    units: dict[str, str]


class Catalogue(msgspec.Struct):
    """Every rollup, and the grains that a query may ask for."""

    rollups: list[CatalogueEntry]
    query_grains: list[str]


_UNITS = {"system": system.UNITS, "enterprise": enterprise.UNITS}


def catalogue() -> Catalogue:
    """What the declarations say."""
    return Catalogue([_entry(rollup) for rollup in ROLLUPS], list(ASKED_GRAINS))


def _entry(rollup: Rollup) -> CatalogueEntry:
    def grains_of(*names: str) -> list[str]:
        return [g for g in rollup.grains if all(g in (rollup.measure(n).grains or rollup.grains) for n in names)]

    measures = [
        CatalogueMeasure(m.name, "stored", m.unit, m.doc, grains_of(m.name)) for m in rollup.measures if m.public
    ]
    measures += [CatalogueMeasure(d.name, "derived", d.unit, d.doc, grains_of(*d.needs)) for d in rollup.derived]
    measures += [CatalogueMeasure(s.name, "sketched", s.unit, s.doc, grains_of(s.measure)) for s in rollup.sketched]
    return CatalogueEntry(
        rollup.name,
        rollup.event,
        rollup.doc,
        list(rollup.keys),
        list(rollup.grains),
        measures,
        _UNITS.get(rollup.event, {}),
    )


_CATALOGUE = catalogue()


async def rollups(_: web.Request) -> web.StreamResponse:
    """The catalogue."""
    return json_answer(_CATALOGUE)


async def query(request: web.Request) -> web.StreamResponse:
    """Rows of one rollup."""
    parameters = parse_query(request, QueryParameters)
    parts = services(request)
    principal = caller(request)
    rollup = rollup_named(parameters.rollup)
    async with parts.database.read(principal.organization) as connection:
        mark = await watermark(connection, rollup.event)
        question = narrowed(parse(parameters, now=parts.now(), default_zone=mark.time_zone), principal)
        found = await answer(connection, question, mark, parameters.fill)
    if wants_csv(request):
        return fresh(_csv(found), found.as_of, request)
    return fresh(json_answer(found), found.as_of, request)


def wants_csv(request: web.Request) -> bool:
    """Whether CSV is asked for. Raises Problem 406 for a type that is neither that nor JSON."""
    accept = request.headers.get("Accept", "*/*").lower()
    offered = [part.split(";")[0].strip() for part in accept.split(",")]
    for media in offered:
        if media == "text/csv":
            return True
        if media in ("application/json", "application/*", "*/*", "text/*", "text/html"):
            return False
    raise Problem(406, "Accept: application/json and text/csv are offered", parameter="Accept")


def _csv(found: Answer) -> web.Response:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(found.columns)
    writer.writerows([[_cell(value) for value in row] for row in found.rows])
    headers = {"X-Next-Cursor": found.cursor} if found.cursor else {}
    return web.Response(text=text.getvalue(), content_type="text/csv", charset="utf-8", headers=headers)


def _cell(value: Any) -> Any:
    """A cell; text that a spreadsheet would take for a formula is marked as text."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return format(value, "f") if hasattr(value, "normalize") else value


ROUTES = [
    Route("GET", "/api/v1/rollups", rollups, "The catalogue of rollups", answer=Catalogue, tags=("reading",)),
    Route(
        "GET",
        "/api/v1/query",
        query,
        "Rows of a rollup",
        query=QueryParameters,
        answer=Answer,
        tags=("reading",),
        errors=(400, 403, 406, 504),
    ),
]
