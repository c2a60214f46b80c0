"""A report's charts as Excel's own: they stand on one sheet, and draw the cells of another."""

from __future__ import annotations

import datetime as dt
from typing import Any

from xlsxwriter.workbook import Workbook
from xlsxwriter.worksheet import Worksheet

from jobs.reports.charts import COLOURS, DOWN, UP
from jobs.reports.layout import printable
from jobs.reports.report import Chart

_LINES_A_CHART = 17
_SIZE = {"width": 880, "height": 320}


def draw_charts(book: Workbook, sheet: Worksheet, data: Worksheet, charts: list[Chart], header: Any) -> None:
    """Writes the points of every chart side by side into `data`, and draws the charts below each other on `sheet`."""
    date = book.add_format({"num_format": "yyyy-mm-dd"})
    firsts, at = [], 0
    for chart in charts:
        firsts.append(at)
        at += len(chart.series) + 2
    for chart, first in zip(charts, firsts, strict=True):
        data.write_string(0, first, printable(chart.title), header)
        for number, series in enumerate(chart.series, start=1):
            data.write_string(0, first + number, printable(series.title), header)
    # A sheet is written from its top to its bottom, so that it need not be kept: row by row, over all charts.
    for row in range(max(len(chart.labels) for chart in charts)):
        for chart, first in zip(charts, firsts, strict=True):
            if row < len(chart.labels):
                _point(data, row, first, chart, date)
    data.set_column(0, max(0, at - 1), 14)
    data.freeze_panes(1, 0)
    sheet.hide_gridlines(2)
    for number, (chart, first) in enumerate(zip(charts, firsts, strict=True)):
        sheet.insert_chart(number * _LINES_A_CHART, 0, _drawing(book, data.get_name(), chart, first))


def print_whole(sheet: Worksheet, charts: int) -> None:
    """Prints two charts a page, so that none is cut."""
    sheet.set_print_scale(80)
    sheet.set_h_pagebreaks([at * _LINES_A_CHART for at in range(2, charts, 2)])


def _point(data: Worksheet, row: int, first: int, chart: Chart, date: Any) -> None:
    label = chart.labels[row]
    if isinstance(label, dt.date):
        data.write_datetime(row + 1, first, dt.datetime.combine(label, dt.time()), date)
    else:
        data.write_string(row + 1, first, printable(label))
    for number, series in enumerate(chart.series, start=1):
        value = series.values[row]
        if value is not None:
            data.write_number(row + 1, first + number, float(value))


def _drawing(book: Workbook, data: str, chart: Chart, first: int) -> Any:
    shape: dict[str, str] = {"type": {"area": "line", "line": "line", "columns": "column", "bars": "bar"}[chart.shape]}
    if chart.shape == "columns" and len(chart.series) > 1:
        shape["subtype"] = "stacked"
    drawing = book.add_chart(shape)
    last = len(chart.labels)
    signed = len(chart.series) == 1 and any(value is not None and value < 0 for value in chart.series[0].values)
    for number in range(1, len(chart.series) + 1):
        colour = COLOURS[(number - 1) % len(COLOURS)]
        look: dict[str, Any] = {"line": {"color": colour, "width": 1.75}}
        if chart.shape in ("columns", "bars"):
            look = {"fill": {"color": UP if signed else colour}, "gap": 40}
            if signed:
                look |= {"invert_if_negative": True, "invert_if_negative_color": DOWN}
        drawing.add_series(
            {
                "name": [data, 0, first + number],
                "categories": [data, 1, first, last, first],
                "values": [data, 1, first + number, last, first + number],
                **look,
            }
        )
    drawing.set_title({"name": printable(chart.title), "name_font": {"size": 12}, "overlay": False})
    labels: dict[str, Any] = {"label_position": "low", "num_font": {"size": 9}}
    values: dict[str, Any] = {
        "major_gridlines": {"visible": True, "line": {"color": "#E2E6EB"}},
        "num_format": "#,##0.##",
    }
    if chart.unit:
        values |= {"name": printable(chart.unit), "name_font": {"size": 9, "bold": False}}
    if chart.shape == "bars":
        drawing.set_x_axis(values)
        drawing.set_y_axis({**labels, "reverse": True})
    else:
        drawing.set_x_axis({**labels, "date_axis": True, "num_format": "d mmm yyyy"})
        drawing.set_y_axis(values)
    drawing.set_legend({"none": True} if len(chart.series) == 1 else {"position": "top"})
    drawing.set_size(_SIZE)
    return drawing
