"""The worker's pipeline: groups are written in their order, the next one prepared meanwhile, and none behind one that was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from ingest.kafka.intake import Taken
from ingest.log import Fenced
from jobs.pipeline import Pipeline
from jobs.storing import Group, Storing
from storage.sink import DatabaseSink


class Stages:
    """What is done with groups, in order; each is written once its gate is open."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.gates: dict[int, asyncio.Future[None]] = {}

    def prepare(self, batches: Sequence[Any]) -> list[Any]:
        """The sink's part."""
        self.done.append(f"prepared {batches[0]}")
        return [f"ready {batches[0]}"]

    async def store(self, group: Group) -> None:
        """Storing's part."""
        (number,) = cast("list[int]", group.taken.batches)
        self.done.append(f"begun {number} {group.prepared}")
        await self.gates[number]
        self.done.append(f"written {number}")


@pytest.fixture
def stages() -> Stages:
    """Stages that no group has passed."""
    return Stages()


@pytest.fixture
def pipeline(stages: Stages) -> Pipeline:
    """An empty pipeline."""
    return Pipeline(cast("DatabaseSink", stages), cast("Storing", stages))


def put(pipeline: Pipeline, stages: Stages, number: int) -> asyncio.Future[None]:
    """Sends a group on its way; it is written once what is returned is done."""
    stages.gates[number] = asyncio.get_running_loop().create_future()
    pipeline.put(Group(Taken(batches=cast("Any", [number])), []))
    return stages.gates[number]


async def reached(stages: Stages, what: str) -> None:
    """Waits until it was done."""
    async with asyncio.timeout(5):
        while what not in stages.done:  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0.001)


async def test_the_next_group_is_prepared_while_one_is_written_and_written_behind_it(
    pipeline: Pipeline, stages: Stages
) -> None:
    first = put(pipeline, stages, 1)
    assert not pipeline.full
    second = put(pipeline, stages, 2)
    assert pipeline.full
    await reached(stages, "prepared 2")
    assert stages.done == ["begun 1 None", "prepared 2"]
    first.set_result(None)
    await reached(stages, "begun 2 ['ready 2']")
    assert stages.done == ["begun 1 None", "prepared 2", "written 1", "begun 2 ['ready 2']"]
    second.set_result(None)
    for number in (1, 2):
        assert pipeline.oldest is not None
        await pipeline.oldest
        assert pipeline.pop().taken.batches == [number]
    assert pipeline.oldest is None


async def test_what_is_behind_a_lost_group_is_never_begun(pipeline: Pipeline, stages: Stages) -> None:
    first = put(pipeline, stages, 1)
    put(pipeline, stages, 2)
    await reached(stages, "prepared 2")
    first.set_exception(Fenced([("view", 0)]))
    for _ in range(2):
        assert pipeline.oldest is not None
        with pytest.raises(Fenced):
            await pipeline.oldest
        pipeline.pop()
    assert stages.done == ["begun 1 None", "prepared 2"]


async def test_a_group_that_waits_for_its_turn_can_be_dropped_and_the_one_before_it_is_written(
    pipeline: Pipeline, stages: Stages
) -> None:
    first = put(pipeline, stages, 1)
    put(pipeline, stages, 2)
    await reached(stages, "prepared 2")
    await pipeline.drop(keep=1)
    assert [group.taken.batches for group in pipeline.groups] == [[1]]
    first.set_result(None)
    assert pipeline.oldest is not None
    await pipeline.oldest
    pipeline.pop()
    await pipeline.drop(keep=1)
    await asyncio.sleep(0)
    assert stages.done == ["begun 1 None", "prepared 2", "written 1"]
