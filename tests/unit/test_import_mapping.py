"""`--map`: what it means, and what it says when it does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.collectors.importers import BadMapping, FileFault, parse_mapping
from ingest.collectors.importers.mapping import Column, Constant, origin
from ingest.collectors.importers.row import BadRow, Job
from ingest.collectors.importers.shape import Shape


def job(kind: str, *options: str) -> Job:
    return Job(Path("trades.csv"), "d" * 64, parse_mapping(options), kind)


def test_pairs_may_be_repeated_or_separated_by_commas() -> None:
    assert parse_mapping(["host=web-1,metric=cpu_usage", "time = when"]) == {
        "host": "web-1",
        "metric": "cpu_usage",
        "time": "when",
    }


@pytest.mark.parametrize("option", ["host", "host=", "=x", "host=a,", "host=a,host=b"])
def test_a_pair_that_cannot_be_read_is_named(option: str) -> None:
    with pytest.raises(BadMapping, match=r"--map host|--map =x"):
        parse_mapping([option])


def test_a_value_is_a_column_where_there_is_one_unless_it_is_quoted() -> None:
    assert origin("server", ["server"]) == Column("server")
    assert origin("web-1", ["server"]) == Constant("web-1")
    assert origin('"server"', ["server"]) == Constant("server")


def test_columns_and_constants_make_an_event() -> None:
    shape = Shape("system", job("system", "host=server,metric=cpu_usage,value=load,time=at"), ["at", "server", "load"])
    assert shape.event({"at": "2026-01-05 10:00:00", "server": "web-1", "load": "7.5"}, 1) == {
        "type": "system",
        "time": "2026-01-05T10:00:00Z",
        "data": {"host": "web-1", "metrics": {"cpu_usage": 7.5}},
    }


def test_a_column_for_each_metric_and_an_empty_cell_is_no_measurement() -> None:
    mapping = job("system", "metrics.cpu_usage=cpu,metrics.queue_length=queue")
    shape = Shape("system", mapping, ["time", "host", "cpu", "queue"])
    row = {"time": "2026-01-05T10:00:00+01:00", "host": "web-1", "cpu": "7.5", "queue": ""}
    assert shape.event(row, 1) == {
        "type": "system",
        "time": "2026-01-05T09:00:00Z",
        "data": {"host": "web-1", "metrics": {"cpu_usage": 7.5}},
    }
    with pytest.raises(BadRow, match=r"every one of them is empty"):
        shape.event(row | {"cpu": " "}, 2)


def test_money_keeps_every_digit_of_the_file() -> None:
    shape = Shape(
        "enterprise", job("enterprise", "metric=revenue_generated,value=revenue,time=day"), ["day", "revenue"]
    )
    event = shape.event({"day": "2026-01-05", "revenue": "12345678901234567.890123456789012345"}, 1)
    assert event["data"] == {"metrics": {"revenue_generated": "12345678901234567.890123456789012345"}}


def test_a_trade_takes_columns_of_the_same_name_and_gets_an_id_by_its_row() -> None:
    columns = ["user_id", "symbol", "side", "quantity", "entry_price", "exit_price", "opened_at", "closed_at", "fees"]
    shape = Shape("trade", job("trade", "broker=mtx,currency=EUR"), columns, numbered=("trade_id",))
    row = dict(zip(columns, ["ada", "SAP", "BUY", "1", "2.50", "3.00", "1767600000", "1767607200000", ""], strict=True))
    event = shape.event(row, 7)
    assert event["time"] == "2026-01-05T10:00:00Z"
    assert event["data"]["trade_id"] == "dddddddddddd-7"
    assert event["data"]["side"] == "buy"
    assert event["data"]["entry_price"] == "2.50"
    assert "fees" not in event["data"]


def test_a_misspelt_field_is_told_the_nearest_name() -> None:
    with pytest.raises(BadMapping, match=r"did you mean quantity"):
        Shape("trade", job("trade", "quantiti=amount"), ["amount"])


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(FileFault, match=r"no column for host; the file's columns are server, load.*--map host=COLUMN"):
        Shape("system", job("system", "metric=cpu_usage,value=load,time=2026-01-05"), ["server", "load"])


def test_a_constant_that_cannot_be_a_value_is_most_likely_a_misspelt_column() -> None:
    with pytest.raises(BadMapping, match=r"'lod' is no column of the file, and 'lod' is no decimal number"):
        Shape("system", job("system", "host=a,metric=cpu_usage,value=lod,time=at"), ["at", "load"])


@pytest.mark.parametrize("text", ["", "nan", "inf", "1_000", "1,5", "0x10", "1e", "1e99999", "--1", "１"])
def test_what_is_no_number_is_no_measurement(text: str) -> None:
    shape = Shape("system", job("system", "host=a,metric=m"), ["time", "value"])
    with pytest.raises(BadRow, match=r"^value: "):
        shape.event({"time": "2026-01-05", "value": text}, 1)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "12", "2026-01-05T25:00:00", "9999999999999999"])
def test_what_is_no_time_is_refused(text: str) -> None:
    shape = Shape("system", job("system", "host=a,metric=m"), ["time", "value"])
    with pytest.raises(BadRow, match=r"^time: .* is no time"):
        shape.event({"time": text, "value": "1"}, 1)
