"""A report's charts as Vega-Lite, for print: the points of the page's charts, in its colours, at the size of a column of text.

Values become binary floats here and nowhere else: a picture has no more digits than its pixels. The figures stand in the tables.
"""

from __future__ import annotations

import datetime as dt
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import vl_convert

from jobs.reports.figures import with_unit
from jobs.reports.report import Chart

FONT = "Liberation Sans"
"""What texts are measured in: it comes with vl-convert, is about as wide as Roboto, and is measured five times as fast."""
WIDTH, HEIGHT = 480, 150
"""Points of the drawing, without its axes."""
MOST_BARS = 20
_LABEL = 9
_PADDING = {"left": 0, "right": 4, "top": 4, "bottom": 0}
COLOURS = ("#2f5fd0", "#d9822b", "#2c9a67", "#8a4fbf", "#5c6775")
UP, DOWN = "#2c9a67", "#cf4a3f"
_INK, _MUTED, _GRID = "#17202b", "#4b5563", "#e2e6eb"


def vega_lite(chart: Chart) -> dict[str, Any]:
    """The Vega-Lite specification of a chart."""
    drawn = _bars(chart) if chart.shape == "bars" else _over_time(chart)
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": WIDTH,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": _PADDING,
        "config": {
            "background": None,
            "view": {"stroke": None},
            "font": FONT,
            "axis": {
                "labelColor": _MUTED,
                "labelFontSize": _LABEL,
                "gridColor": _GRID,
                "domainColor": "#b8c0ca",
                "tickColor": "#b8c0ca",
                "domain": False,
                "ticks": False,
                "labelPadding": 5,
            },
            "legend": {
                "labelColor": _INK,
                "labelFontSize": 9,
                "title": None,
                "orient": "top",
                "symbolSize": 60,
                "offset": 4,
            },
        },
        **drawn,
    }


def drawn(chart: Chart, families: Sequence[str]) -> str:
    """The chart as SVG, its texts in these families of fonts."""
    svg: str = vl_convert.vegalite_to_svg(vega_lite(chart))
    # The attribute is Vega's; a text of the chart that looks like it has its quotation marks escaped.
    names = ", ".join(f"'{family}'" for family in families)
    return svg.replace(f'font-family="{FONT}"', f'font-family="{names}"')


def in_words(chart: Chart) -> str:
    """What a chart shows, in words: the text for who cannot see it."""
    if not chart.labels or not any(value is not None for series in chart.series for value in series.values):
        return f"{chart.title}: no figures."
    kind = {"area": "Line", "line": "Line", "columns": "Column", "bars": "Bar"}[chart.shape]
    parts = []
    for series in chart.series:
        found = [(value, label) for value, label in zip(series.values, chart.labels, strict=True) if value is not None]
        if found:
            (low, where_low), (high, where_high) = (
                min(found, key=lambda one: one[0]),
                max(found, key=lambda one: one[0]),
            )
            named = f"{series.title}: " if len(chart.series) > 1 else ""
            parts.append(
                f"{named}lowest {with_unit('number', low, chart.unit)} ({where_low}),"
                f" highest {with_unit('number', high, chart.unit)} ({where_high})"
            )
    over = f" from {chart.labels[0]} to {chart.labels[-1]}" if chart.shape != "bars" else ""
    return f"{kind} chart, {chart.title}{over}; {'; '.join(parts)}."


def _points(chart: Chart) -> list[dict[str, Any]]:
    """A row for each value there is; days as the milliseconds of their midnight in UTC, which the axis reads as they are."""
    return [
        {
            "x": int(dt.datetime.combine(label, dt.time(), dt.UTC).timestamp() * 1000)
            if isinstance(label, dt.date)
            else label,
            "y": float(value),
            "s": series.title,
        }
        for series in chart.series
        for label, value in zip(chart.labels, series.values, strict=True)
        if value is not None
    ]


def _over_time(chart: Chart) -> dict[str, Any]:
    points = _points(chart)
    days = len(chart.labels)
    time_format = "%-d %b" if days <= 190 else "%b %Y"
    x: dict[str, Any] = {
        "field": "x",
        "type": "temporal",
        "title": None,
        "scale": {"type": "utc", "nice": False},
        "axis": {
            "format": time_format,
            "tickCount": _ticks(days),
            "grid": False,
            "domain": True,
            "labelFlush": True,
            "labelOverlap": "greedy",
        },
    }
    y: dict[str, Any] = {
        "field": "y",
        "type": "quantitative",
        "title": None,
        "scale": {"zero": chart.shape == "columns", "nice": True},
        "axis": {"tickCount": 5, "format": "~s" if _large(points) else ",~f"},
    }
    data = {"values": points, "format": {"parse": None}}
    zero = {"mark": {"type": "rule", "color": _MUTED, "strokeWidth": 0.8}, "encoding": {"y": {"datum": 0}}}
    crosses = any(point["y"] < 0 for point in points) and any(point["y"] > 0 for point in points)
    layers: list[dict[str, Any]]
    if chart.shape == "columns":
        width = max(1.0, min(22.0, 0.72 * (WIDTH - 40) / max(1, days)))
        centred = {**x, "scale": {**x["scale"], "padding": width}}
        several = len(chart.series) > 1
        colour: dict[str, Any] = (
            _series_colour(chart)
            if several
            else {"condition": {"test": "datum.y < 0", "value": DOWN}, "value": UP if crosses else COLOURS[0]}
        )
        bar = {
            "mark": {"type": "bar", "width": width, "cornerRadiusEnd": min(1.5, width / 4)},
            "encoding": {"x": centred, "y": {**y, "stack": "zero" if several else None}, "color": colour},
        }
        layers = [bar, zero]
    else:
        line = {
            "mark": {"type": "line", "strokeWidth": 1.4, "point": {"size": 14} if days <= 2 else False},
            "encoding": {"x": x, "y": y, "color": _series_colour(chart)},
        }
        layers = [line]
        if chart.shape == "area" and points:
            # Filled from the lowest value: an equity of thousands is not flattened by a zero that it never comes near.
            base = 0 if crosses else min(point["y"] for point in points)
            fill = {
                "mark": {"type": "area", "opacity": 0.12, "color": COLOURS[0]},
                "encoding": {"x": x, "y": y, "y2": {"datum": base}},
            }
            layers = [fill, line]
        if crosses:
            layers.append(zero)
    return {"height": HEIGHT, "data": data, "layer": layers}


def _ticks(days: int) -> Any:
    if days <= 10:
        return "day"
    return 7


def _series_colour(chart: Chart) -> dict[str, Any]:
    names = [series.title for series in chart.series]
    return {
        "field": "s",
        "type": "nominal",
        "scale": {"domain": names, "range": [COLOURS[n % len(COLOURS)] for n in range(len(names))]},
        **({} if len(names) > 1 else {"legend": None}),
    }


def _bars(chart: Chart) -> dict[str, Any]:
    """Lying bars, the first on top: names are read without turning one's head."""
    points = [point for point in _points(chart) if point["x"] in set(chart.labels[:MOST_BARS])]
    several = len(chart.series) > 1
    negative = any(point["y"] < 0 for point in points)
    colour: dict[str, Any] = (
        _series_colour(chart)
        if several
        else {"condition": {"test": "datum.y < 0", "value": DOWN}, "value": UP if negative else COLOURS[0]}
    )
    return {
        "height": {"step": 15},
        "padding": {**_PADDING, "left": _unmeasured(chart.labels[:MOST_BARS])},
        "data": {"values": points, "format": {"parse": None}},
        "mark": {"type": "bar", "cornerRadiusEnd": 1.5, "height": {"band": 0.72}},
        "encoding": {
            "y": {
                "field": "x",
                "type": "nominal",
                "title": None,
                "sort": list(chart.labels[:MOST_BARS]),
                "axis": {"labelLimit": 150, "labelColor": _INK, "grid": False},
            },
            "x": {
                "field": "y",
                "type": "quantitative",
                "title": None,
                "axis": {"tickCount": 6, "format": "~s" if _large(points) else ",~f"},
            },
            "color": colour,
        },
    }


def _unmeasured(labels: Sequence[Any]) -> int:
    """Points that the longest label needs beside what it was measured at: a character of full width, an em in print, is three quarters of
    one to the measuring font, which does not have it.
    """
    wide = [sum(unicodedata.east_asian_width(character) in "WF" for character in str(label)) for label in labels]
    return math.ceil(max(wide, default=0) * _LABEL / 4)


def _large(points: list[dict[str, Any]]) -> bool:
    """Whether the axis needs k and M: its numbers would be longer than its words."""
    return max((abs(point["y"]) for point in points), default=0) >= 100_000
