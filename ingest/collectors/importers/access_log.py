"""`--as access-log`: an Apache or nginx access log, common or combined, to `system` events."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ingest.collectors.importers.lines import Lines
from ingest.collectors.importers.mapping import Constant, check_fields, origin
from ingest.collectors.importers.row import BadRow, Job, Row, line_rows
from ingest.collectors.importers.values import shown

COLUMNS = ("client", "ident", "user", "request", "status", "size")

# What stands behind the size (referrer, user agent) is not needed, so a line that was cut there still counts.
_LINE = re.compile(
    r"(?P<client>\S+) (?P<ident>\S+) (?P<user>.+?) "
    r"\[(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4}):(?P<clock>\d\d:\d\d:\d\d) (?P<offset>[+-]\d{4})\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<size>\d{1,18}|-)(?:\s|$)',
    re.ASCII,
).match
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: f"{number:02}" for number, name in enumerate(_NAMES, 1)}


class AccessLogImporter:
    """One request a line: `requests` is 1, `response_size` its bytes, `error_rate` 100 for a status of 500 or more, else 0.

    So that, over any time, the sum of `requests` counts them and the mean of `error_rate` is the share of errors in %.
    The host is `access-log` unless it is mapped to a constant or to one of client, ident, user, request, status, size.
    """

    def __init__(self, job: Job) -> None:
        check_fields(job.mapping, {"host"})
        self._host = origin(job.mapping.get("host", "access-log"), COLUMNS)
        self.kinds: tuple[str, ...] = ("system",)
        self.notes: Counter[str] = Counter()

    def rows(self, lines: Lines) -> Iterator[Row]:
        """Every line is a row; blank ones are passed over and not counted."""
        return line_rows(lines)

    def kind(self, row: Row) -> str:  # noqa: ARG002  (other formats tell it by the row)
        """Every request is a measurement."""
        return "system"

    def event(self, row: Row) -> dict[str, Any]:
        """Builds the measurement of one request."""
        found = _LINE(row.fields)
        if found is None:
            raise BadRow(f"{shown(row.fields)} is no line of the combined or common log format")
        size = found["size"]
        metrics = {
            "requests": 1,
            "response_size": 0 if size == "-" else int(size),
            "error_rate": 100 if int(found["status"]) >= 500 else 0,
        }
        host = self._host.text if isinstance(self._host, Constant) else found[self._host.name][:256]
        return {"type": "system", "time": _time(found), "data": {"host": host, "metrics": metrics}}


def _time(found: re.Match[str]) -> str:
    """Returns the line's time in RFC 3339. strptime is not used: its month names follow the machine's language."""
    offset = found["offset"]
    text = (
        f"{found['year']}-{_MONTHS.get(found['month'], '00')}-{found['day']}T{found['clock']}{offset[:3]}:{offset[3:]}"
    )
    try:
        return dt.datetime.fromisoformat(text).astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        day = f"{found['day']}/{found['month']}/{found['year']}:{found['clock']} {offset}"
        raise BadRow(f"{shown(day)} is no time") from None
