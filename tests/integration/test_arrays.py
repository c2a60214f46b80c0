"""Columns as arrays on their way to PostgreSQL: in binary or as text, the database reads the same."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage.arrays import NumericArray, array, literal


@st.composite
def decimals(draw: st.DrawFn) -> pl.Series:
    """A column of amounts, or of whole numbers, each with as many digits as it likes."""
    scale = draw(st.sampled_from([18, 18, 2, 0]))
    whole = st.integers(-(10**18) + 1, 10**18 - 1) | st.integers(-20_000, 20_000)
    part = st.integers(0, scale).flatmap(lambda digits: st.integers(0, 10**digits - 1).map(lambda n: f"{n:0{digits}d}"))
    numbers = st.tuples(whole, part).map(lambda pair: Decimal(f"{pair[0]}.{pair[1] or 0}"))
    return amounts(draw(st.lists(numbers, min_size=1, max_size=12)), scale)


def amounts(values: list[Decimal], scale: int = 18) -> pl.Series:
    """A column of exact numbers."""
    return pl.Series(values, dtype=pl.Decimal(38, scale))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=decimals())
@example(amounts([Decimal(0)]))
@example(amounts([Decimal("-0.000000000000000001"), Decimal("999999999999999999.999999999999999999")]))
@example(amounts([Decimal(10_000), Decimal(9_999), Decimal("0.0001"), Decimal("0.00001"), Decimal("-1.50")]))
def test_numbers_in_binary_are_those_of_the_text(database_url: str, column: pl.Series) -> None:
    written = array(column)
    assert isinstance(written, NumericArray)
    assert read(database_url, written) == read(database_url, literal(column))


@pytest.mark.parametrize(
    "column",
    [
        amounts([Decimal(10**19), Decimal(1)]),
        amounts([Decimal("0.99")], scale=19),
        pl.Series([Decimal(1), None], dtype=pl.Decimal(38, 18)),
    ],
    ids=["too large", "too fine", "a null"],
)
def test_what_does_not_fit_goes_as_text(database_url: str, column: pl.Series) -> None:
    written = array(column)
    assert isinstance(written, str)
    found = [None if text is None else Decimal(text) for text in read(database_url, written)]
    assert found == column.to_list()


def read(url: str, numbers: object) -> list[str | None]:
    """The elements as the database has them: text shows the digits behind the point that each is kept with."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("select element::text from unnest(%s::numeric[]) as element", (numbers,)).fetchall()
    return [row[0] for row in rows]
