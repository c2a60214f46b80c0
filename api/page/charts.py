"""The page's charts as Vega-Lite: the minutes of a metric, and profit and loss by day.

Both keep to what a live page needs: canvas, times as epoch milliseconds shifted into the reader's zone (so that `utc` scales show
local time and nothing is parsed when data is replaced), and colours as params that follow the reader's theme.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"


def minutes() -> Spec:
    """A metric's minutes: rows of `t` (ms), `v` (the mean), `low`, `high`, and `tip` on the newest. Params `t0`, `t1` bound the time."""
    time = {
        "field": "t",
        "type": "temporal",
        "title": None,
        "scale": {"type": "utc", "domainMin": {"expr": "t0"}, "domainMax": {"expr": "t1"}, "nice": False},
        "axis": {"format": "%H:%M", "tickCount": 4, "grid": False, "labelFlush": True},
    }
    value = {"type": "quantitative", "title": None, "scale": {"zero": True, "nice": True}, "axis": {"tickCount": 3}}
    return {
        **_frame(height=92, params={"accent": "#2f5fd0", "t0": 0, "t1": 900_000}),
        "layer": [
            {
                "mark": {"type": "area", "color": {"expr": "accent"}, "opacity": 0.16, "clip": True},
                "encoding": {"x": time, "y": {"field": "low", **value}, "y2": {"field": "high"}},
            },
            {
                "mark": {"type": "line", "color": {"expr": "accent"}, "strokeWidth": 1.75, "clip": True},
                "encoding": {"x": time, "y": {"field": "v", **value}},
            },
            {
                "transform": [{"filter": "datum.tip"}],
                "mark": {"type": "point", "filled": True, "color": {"expr": "accent"}, "size": 38, "opacity": 1},
                "encoding": {"x": time, "y": {"field": "v", **value}},
            },
        ],
    }


def days() -> Spec:
    """Profit and loss by day: rows of `day` (2026-11-30), `profit`, `loss` (as a number below zero) and `net`."""
    day = {
        "field": "day",
        "type": "ordinal",
        "title": None,
        "scale": {"paddingInner": 0.28, "paddingOuter": 0.14},
        "axis": {
            "labelAngle": 0,
            "labelOverlap": "greedy",
            "labelSeparation": 14,
            "labelExpr": "utcFormat(utcParse(datum.value, '%Y-%m-%d'), '%-d %b')",
            "grid": False,
            "ticks": False,
            "labelPadding": 6,
        },
    }
    label = "datum.value === 0 ? '0' : datum.label"
    amount = {"type": "quantitative", "title": None, "axis": {"format": "~s", "tickCount": 5, "labelExpr": label}}
    # Unstacked: a stacked bar with round corners is a group of its own each, and those keep what they have drawn before.
    unstacked = {**amount, "stack": None}
    bar = {"type": "bar", "cornerRadiusEnd": 2}
    return {
        **_frame(height=220, params={"up": "#2c9a67", "down": "#cf4a3f"}),
        "layer": [
            {
                "mark": {**bar, "color": {"expr": "up"}},
                "encoding": {"x": day, "y": {"field": "profit", **unstacked}},
            },
            {
                "mark": {**bar, "color": {"expr": "down"}},
                "encoding": {"x": day, "y": {"field": "loss", **unstacked}},
            },
            {"mark": {"type": "rule", "color": {"expr": "fg"}, "opacity": 0.45}, "encoding": {"y": {"datum": 0}}},
            {
                "transform": [{"filter": "datum.traded"}],
                "mark": {"type": "tick", "color": {"expr": "fg"}, "thickness": 2.5, "bandSize": 12},
                "encoding": {"x": day, "y": {"field": "net", **amount}},
            },
        ],
    }


def _frame(*, height: int, params: dict[str, Any]) -> Spec:
    """What all charts have in common. The width is the page's to set."""
    colours = {"fg": "#17202b", "muted": "#5c6775", "grid": "#e2e6eb"}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": 300,
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 0, "right": 15, "top": 4, "bottom": 0},
        "params": [{"name": name, "value": value} for name, value in {**colours, **params}.items()],
        "data": {"name": "points", "values": [], "format": {"parse": None}},
        "config": {
            "background": None,
            "view": {"stroke": None},
            "font": _FONT,
            "axis": {
                "labelColor": {"expr": "muted"},
                "labelFontSize": 11,
                "gridColor": {"expr": "grid"},
                "domainColor": {"expr": "grid"},
                "tickColor": {"expr": "grid"},
            },
            "axisY": {"minExtent": 34, "domain": False, "ticks": False, "labelPadding": 6},
        },
    }


CHARTS = {"minutes": minutes(), "days": days()}
"""Every chart that the page draws, by the name that its script knows it by."""
