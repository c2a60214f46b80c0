"""From the named texts of a row to the data of an event: which field comes from where, for each kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec

from ingest.collectors.importers import values
from ingest.collectors.importers.mapping import Column, Constant, Origin, check_fields, origin
from ingest.collectors.importers.row import BadMapping, BadRow, FileFault, Job
from ingest.events import KINDS

Convert = Callable[[str], Any]
Getter = Callable[[Mapping[str, str]], str]

METRICS = "metrics."
_NONE: Mapping[str, Origin] = MappingProxyType({})
_BY_TYPE: tuple[tuple[type[msgspec.inspect.Type], Convert], ...] = (
    (msgspec.inspect.DecimalType, values.decimal_text),
    (msgspec.inspect.DateTimeType, values.instant),
    (msgspec.inspect.FloatType, values.measured),
    (msgspec.inspect.IntType, values.whole),
)


class Field(msgspec.Struct, frozen=True):
    """One field of a kind's data: how a text becomes its value, and whether an event must have it."""

    convert: Convert
    required: bool


def fields_of(kind: str) -> dict[str, Field]:
    """Returns the fields that a row can fill, read from the kind's contract.

    Metrics are filled by `metric` and `value`, one a row, or by `metrics.NAME`, a column each. A trade's time is `closed_at`.
    """
    data = next(field.type for field in msgspec.structs.fields(KINDS[kind]) if field.name == "data")
    info = msgspec.inspect.type_info(data)
    assert isinstance(info, msgspec.inspect.StructType)
    fields = {
        field.name: Field(_convert(field.type), field.required) for field in info.fields if field.name != "metrics"
    }
    if any(field.name == "metrics" for field in info.fields):
        fields |= {"metric": Field(str, False), "value": Field(metric_value(kind), False)}
    if "closed_at" not in fields:
        fields["time"] = Field(values.instant, True)
    return fields


def metric_value(kind: str) -> Convert:
    """Enterprise figures hold money and stay decimal; a host's measurements are binary numbers."""
    return values.decimal_text if kind == "enterprise" else values.measured


def _convert(of: msgspec.inspect.Type) -> Convert:
    kinds = of.types if isinstance(of, msgspec.inspect.UnionType) else (of,)
    for one in kinds:
        if isinstance(one, msgspec.inspect.LiteralType):
            return partial(values.choice, tuple(str(word) for word in one.values))
    return next((convert for one in kinds for known, convert in _BY_TYPE if isinstance(one, known)), str)


class Shape:
    """Builds events of one kind from rows that have certain columns.

    A field comes from the mapping, else from `defaults`, else from the column of its own name. `numbered` fields that are still
    without a column are filled with the row's number behind a prefix. Raises BadMapping or FileFault for what does not fit.
    """

    def __init__(
        self,
        kind: str,
        job: Job,
        columns: Collection[str],
        *,
        defaults: Mapping[str, Origin] = _NONE,
        numbered: Collection[str] = (),
    ) -> None:
        self.kind = kind
        self._fields = fields_of(kind)
        self._metric_value = metric_value(kind)
        self._prefix = f"{job.digest[:12]}-"
        has_metrics = "metric" in self._fields
        check_fields(job.mapping, self._fields, prefix=METRICS if has_metrics else None)
        named = {name for name in columns if name in self._fields or (has_metrics and name.startswith(METRICS))}
        origins: dict[str, Origin] = {name: Column(name) for name in named}
        origins |= defaults
        origins |= {field: origin(value, columns) for field, value in job.mapping.items()}
        wide = [name for name in origins if name.startswith(METRICS)]
        if wide and "metric" not in job.mapping:
            origins.pop("metric", None)
            origins.pop("value", None)
        self._numbered = [name for name in numbered if name not in origins]
        self._check(job, origins, columns, needs_metrics=has_metrics and not wide)
        self._origins = origins

    def _check(self, job: Job, origins: Mapping[str, Origin], columns: Collection[str], *, needs_metrics: bool) -> None:
        needed = [name for name, field in self._fields.items() if field.required and name not in self._numbered]
        if needs_metrics:
            needed += ["metric", "value"]
        missing = [name for name in needed if name not in origins]
        absent = [
            f"{one.name} (for {name})"
            for name, one in origins.items()
            if isinstance(one, Column) and one.name not in columns
        ]
        if missing or absent:
            found = ", ".join(columns) or "none"
            example = f"; say where it is with --map {missing[0]}=COLUMN" if missing else ""
            raise FileFault(
                f"{job.path}: no column for {', '.join(missing + absent)}; the file's columns are {found}{example}"
            )
        for name, one in origins.items():
            if isinstance(one, Constant):
                try:
                    self._value(name, one.text)
                except BadRow as error:
                    raise BadMapping(f"--map {name}: {one.text!r} is no column of the file, and {error}") from None

    def _value(self, name: str, text: str) -> Any:
        field = self._fields.get(name)
        return field.convert(text) if field is not None else self._metric_value(text)

    def event(self, row: Mapping[str, str], number: int) -> dict[str, Any]:
        """Returns the event's `type`, `time` and `data`. Raises BadRow, naming the field."""
        data: dict[str, Any] = {}
        for name, one in self._origins.items():
            text = one.text if isinstance(one, Constant) else row.get(one.name, "")
            if not text.strip():
                field = self._fields.get(name)
                if field is not None and (field.required or name in {"metric", "value"}):
                    raise BadRow(f"{name}: is empty")
                continue
            try:
                data[name] = self._value(name, text)
            except BadRow as error:
                raise BadRow(f"{name}: {error}") from None
        for name in self._numbered:
            data[name] = f"{self._prefix}{number}"
        if "metric" in self._fields:
            self._gather_metrics(data)
        time = data["closed_at"] if "closed_at" in data else data.pop("time")
        return {"type": self.kind, "time": time, "data": data}

    @staticmethod
    def _gather_metrics(data: dict[str, Any]) -> None:
        metrics = {name.removeprefix(METRICS): data.pop(name) for name in list(data) if name.startswith(METRICS)}
        if "metric" in data:
            metrics[data.pop("metric")] = data.pop("value")
        if not metrics:
            raise BadRow("metrics: every one of them is empty")
        data["metrics"] = metrics
