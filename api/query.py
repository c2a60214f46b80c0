"""`/api/v1/query` and `/api/v1/rollups`: any rollup, as JSON or CSV, and the catalogue of what there is."""

from __future__ import annotations

import contextlib
import hashlib
from functools import partial

import msgspec
from aiohttp import web

from aggregators.calendar import ASKED_GRAINS
from aggregators.definitions import BY_NAME, ROLLUPS
from aggregators.rollup import Rollup
from api.auth.principal import caller
from api.csv_text import csv_text
from api.freshness import ALWAYS, RECEIVED, fresh, same_minute
from api.media import wants_csv
from api.questions import Answer, QueryParameters, answer, moving, parse, rollup_named
from api.routing import ENCODER, Route, json_answer, parse_query
from api.services import services
from api.visibility import narrowed
from ingest.events import enterprise, system
from storage.feed import watermark
from storage.raw_question import ask_raw
from storage.rollup_query import ask


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


_CATALOGUE = ENCODER.encode(catalogue())
_CATALOGUE_HEADERS = {
    "ETag": f'"{hashlib.blake2b(_CATALOGUE, digest_size=12).hexdigest()}"',
    "Cache-Control": "private, no-cache",
}


async def rollups(_: web.Request) -> web.StreamResponse:
    """The catalogue."""
    return web.Response(body=_CATALOGUE, content_type="application/json", headers=_CATALOGUE_HEADERS)


async def query(request: web.Request) -> web.StreamResponse:
    """Rows of one rollup."""
    parameters = parse_query(request, QueryParameters)
    parts = services(request)
    principal = caller(request)
    rollup = rollup_named(parameters.rollup)
    raw = parameters.source == "raw"
    async with contextlib.AsyncExitStack() as stack:
        if raw:
            # A question to the raw events holds a connection for seconds: others must find one free.
            await stack.enter_async_context(parts.raw_questions)
        reading = parts.database.read_raw if raw else parts.database.read
        connection = await stack.enter_async_context(reading(principal.organization))
        mark = await watermark(connection, rollup.event)
        question = narrowed(parse(parameters, now=parts.now(), default_zone=mark.time_zone), principal)
        asked = partial(ask_raw, archive=parts.archive) if raw else ask
        found = await answer(connection, question, mark, parameters.fill, asked)
    response = _csv(found) if wants_csv(request) else json_answer(found)
    response.headers["Vary"] = "Accept"
    until = same_minute(request[RECEIVED]) if moving(parameters) else ALWAYS
    return fresh(response, found.as_of, request, until=until)


def _kinds(request: web.Request) -> tuple[str, ...]:
    """What changes the answer: events of the asked rollup's kind."""
    rollup = BY_NAME.get(request.query.get("rollup", ""))
    return () if rollup is None else (rollup.event,)


def _csv(found: Answer) -> web.Response:
    text = csv_text([found.columns, *found.rows])
    headers = {"X-Next-Cursor": found.cursor} if found.cursor else {}
    return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=headers)


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
        also={200: {"text/csv": str}},
        kinds=_kinds,
    ),
]
