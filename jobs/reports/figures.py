"""Figures as text, as PDF and Excel show them: every digit, grouped by thousands, with the currency's own number of places."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal

from jobs.reports.report import NUMBERS, Kind, Value

NOTHING = "–"
"""Stands for a figure that nothing gave."""
MINUS = "−"

_WHOLE = [
    "BIF",
    "CLP",
    "DJF",
    "GNF",
    "ISK",
    "JPY",
    "KMF",
    "KRW",
    "PYG",
    "RWF",
    "UGX",
    "VND",
    "VUV",
    "XAF",
    "XOF",
    "XPF",
]
_THOUSANDTHS = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]
_PLACES = dict.fromkeys(_WHOLE, 0) | dict.fromkeys(_THOUSANDTHS, 3)
_EXACT = Context(prec=1_000)


def currency_places(currency: str | None) -> int:
    """How many digits behind the point amounts of a currency usually have (ISO 4217); 2 where it says nothing else."""
    return _PLACES.get(currency or "", 2)


def digits_behind(value: Value) -> int:
    """The digits of a number behind its point, without zeros at its end that say nothing."""
    if not isinstance(value, Decimal):
        return 0
    return max(0, -int(value.normalize(_EXACT).as_tuple().exponent))


def places(kind: Kind, unit: str | None, values: Iterable[Value]) -> int:
    """The digits behind the point that all of a column's numbers are written with, so that points stand below each other."""
    most = max((digits_behind(value) for value in values), default=0)
    return max(most, currency_places(unit)) if kind == "money" else most


def placed(value: Decimal, digits: int) -> Decimal:
    """The number rounded half-even to so many digits behind the point, however large it is."""
    return value.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN, context=_EXACT)


def figure_text(kind: Kind, value: Value, digits: int = 0) -> str:
    """A figure as text, without its unit; `digits` behind the point, never fewer than it has."""
    if value is None:
        return NOTHING
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, str):
        return value
    if kind == "duration":
        return _duration(Decimal(value), digits)
    return number(value, digits)


def number(value: int | Decimal, digits: int = 0) -> str:
    """A number with commas between thousands and a true minus."""
    exact = Decimal(value)
    text = f"{exact.copy_abs():,.{max(digits, digits_behind(exact))}f}"
    return MINUS + text if exact < 0 else text


def _duration(seconds: Decimal, digits: int) -> str:
    """Hours, minutes and seconds: 27:03:09."""
    whole, part = _EXACT.divmod(seconds.copy_abs(), Decimal(1))
    minutes, second = divmod(int(whole), 60)
    hours, minute = divmod(minutes, 60)
    behind = f"{part:.{max(digits, digits_behind(seconds))}f}"[1:]
    return f"{MINUS if seconds < 0 else ''}{hours}:{minute:02}:{second:02}{behind}"


def with_unit(kind: Kind, value: Value, unit: str | None) -> str:
    """A figure that stands alone: with its unit behind it."""
    text = figure_text(kind, value, places(kind, unit, [value]))
    sign = "%" if kind == "percent" else unit
    # The space does not break: a number and its unit stay on one line.
    return f"{text}\u00a0{sign}" if sign and value is not None and kind in NUMBERS else text


def column_header(title: str, kind: Kind, unit: str | None) -> str:
    """A column's header with the unit of its numbers."""
    sign = "%" if kind == "percent" else "h:m:s" if kind == "duration" else unit
    return f"{title} ({sign})" if sign else title
