"""Files of the archive: every value of every event is in them, exactly, in types that others read."""

from __future__ import annotations

from pathlib import Path

import duckdb
from hypothesis import HealthCheck, given, settings

from aggregators.frames import COLUMNS, MONEY
from storage.archive import Archive
from tests.integration.archived import archived, archived_rows, everything, plain, raw_rows, written
from tests.integration.stored import KINDS, organizations, scalar
from tests.samples import Sample, sample_lists


def test_every_column_of_random_events_survives_exactly(database_url: str, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")

    @given(samples=sample_lists(numbered=True))
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    def check(samples: list[Sample]) -> None:
        written(database_url, samples, organizations(database_url))
        archived(database_url, archive)
        for kind in KINDS:
            stored = [tuple(map(plain, row)) for row in raw_rows(database_url, kind)]
            assert archived_rows(database_url, archive, kind) == sorted(stored, key=repr)

    check()


def test_types_in_the_files_are_the_ones_that_others_expect(database_url: str, folder: Archive) -> None:
    written(database_url, everything(1), organizations(database_url))
    archived(database_url, folder)
    for kind in KINDS:
        path = scalar(database_url, f"select min(path) from store.archived_file where kind = '{kind}'")
        (place,) = [found for found in folder.folder.rglob("*.parquet") if str(found).endswith(path)]
        copy = place.rename(folder.folder.parent / f"{kind}.parquet")
        with duckdb.connect() as duck:
            types = {name: kind_ for name, kind_, *_ in duck.execute(f"describe from '{copy}'").fetchall()}
            compression = duck.execute(f"select distinct compression from parquet_metadata('{copy}')").fetchall()
        assert compression == [("ZSTD",)]
        assert (types["organization"], types["time"], types["batch"]) == ("UUID", "TIMESTAMP WITH TIME ZONE", "BIGINT")
        amounts = {name for name, dtype in COLUMNS[kind].items() if dtype == MONEY}
        assert {name for name, kind_ in types.items() if kind_ == "DECIMAL(38,18)"} == amounts
