"""How the driver's work grows: with the members of a population, and with the generations behind it."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.case import CASES, Case, Disagreement, Measurement, Scaling, ScalingImplementation, Setup

if TYPE_CHECKING:
    from benchmarks.simulated import DriverCosts

__all__ = ["prepare_decision", "prepare_generations", "prepare_lineage", "prepare_members", "prepare_memory"]

CUTOFF = 0.2
GENERATIONS_IN_MEMORY = 3
"""The generations that the driver keeps whole; its memory is compared beyond them."""


def prepare_decision(setup: Setup) -> Scaling:
    """From the last score of a generation to the plan of the next one: who goes on, who is copied, and mutated how.

    The baseline is the synchronous scheduler of Tune, which receives one result for each member and decides
    at the last.
    """
    from benchmarks.baselines.tune_pbt import time_tune_decision

    folders = _folders(setup.folder)

    def ours(members: int) -> float:
        return min(_run(next(folders), members, 3).decision_seconds)

    sizes = setup.pick((100, 1000, 10_000), (100, 1000, 10_000), (20, 40))
    baseline = ScalingImplementation("Tune's PBT scheduler", time_tune_decision, max_size=setup.pick(2000, 1000, 40))
    return Scaling(
        "members",
        sizes,
        1,
        ScalingImplementation("the rule", ours),
        lambda: _check_replaced(_run(next(folders), sizes[0], 2).replaced, 2, sizes[0]),
        1,
        [baseline],
        measurements=lambda medians: [Measurement(f"for {sizes[-1]:,} members", medians[sizes[-1]], "s")],
    )


def prepare_members(setup: Setup) -> Scaling:
    """A generation of the driver alone: tasks, records, decision, manifest, lineage, and the deletion of old blobs."""
    folders = _folders(setup.folder)

    def ours(members: int) -> float:
        return float(np.median(_run(next(folders), members, 5, files=True).seconds[2:]))

    sizes = setup.pick((100, 400, 1600, 6400), (100, 400, 1600), (10, 20))

    def measurements(medians: Mapping[int, float]) -> Sequence[Measurement]:
        return [Measurement("of the driver for a member and generation", 1e6 * medians[sizes[-1]] / sizes[-1], "µs")]

    return Scaling(
        "members",
        sizes,
        1,
        ScalingImplementation("the driver", ours),
        lambda: _check_replaced(_run(next(folders), sizes[0], 2).replaced, 2, sizes[0]),
        1,
        measurements=measurements,
    )


def prepare_generations(setup: Setup) -> Scaling:
    """The time of the driver for a generation, by how many lie behind it: it should not depend on them."""
    members, sizes = _long_run(setup, 1000)
    folders, costs = _folders(setup.folder), dict[int, float]()

    def ours(generation: int) -> float:
        if generation not in costs:
            seconds = _run(next(folders), members, sizes[-1]).seconds
            costs.update({size: float(np.median(seconds[size // 2 : size])) for size in sizes})
        return costs.pop(generation)

    return Scaling(
        "generations",
        sizes,
        0,
        ScalingImplementation(f"the driver, {members:,} members", ours),
        lambda: _check_replaced(_run(next(folders), members, 2).replaced, 2, members),
        setup.pick(1, 2, 1),
    )


def prepare_memory(setup: Setup) -> Scaling:
    """The driver's memory by how many generations it has committed: it should not grow. In a process of its own."""
    members, sizes = _long_run(setup, 1000)
    folders, costs = _folders(setup.folder), dict[int, float]()

    def ours(generation: int) -> float:
        if generation not in costs:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                mib = pool.submit(_memory_by_generation, next(folders), members, sizes[-1]).result()
            costs.update({size: mib[size - 1] for size in sizes})
        return costs.pop(generation)

    def measurements(medians: Mapping[int, float]) -> Sequence[Measurement]:
        added = (medians[sizes[-1]] - medians[sizes[0]]) / (sizes[-1] - sizes[0])
        return [Measurement("added by a generation", 1024 * added, "KiB")]

    return Scaling(
        "generations",
        sizes,
        0,
        ScalingImplementation(f"the driver, {members:,} members", ours),
        lambda: _check_replaced(_run(next(folders), members, 2).replaced, 2, members),
        1,
        unit="MiB",
        measurements=measurements,
    )


def prepare_lineage(setup: Setup) -> Scaling:
    """Read a population's record: repair its log, read its manifests, follow the best member back."""
    members, sizes = _long_run(setup, 10_000)
    whole = setup.shared_folder / "whole"
    parts = {size: setup.shared_folder / f"part-{size}" for size in sizes}
    if setup.is_first_session:
        _run(whole, members, sizes[-1])
        for size, part in parts.items():
            _copy_first_generations(whole, part, size)

    def check() -> str:
        read(sizes[0])
        return f"each time all manifests are read, and the winner of {members:,} members has its ancestors"

    def read(size: int) -> float:
        start = time.perf_counter()
        generations, ancestors = _read_lineage(parts[size])
        seconds = time.perf_counter() - start
        if generations != size or ancestors != size:
            raise Disagreement(f"{generations} of {size} generations were read, and {ancestors} ancestors found")
        return seconds

    def measurements(medians: Mapping[int, float]) -> Sequence[Measurement]:
        rows = members * sizes[-1]
        stored = sum(path.stat().st_size for path in (*whole.rglob("generation-*.json"), whole / "lineage.jsonl"))
        return [
            Measurement("read in a second", rows / medians[sizes[-1]], "members and generations"),
            Measurement("on disk for a member and generation", stored / rows, "bytes"),
        ]

    return Scaling(
        "generations",
        sizes,
        1,
        ScalingImplementation(f"manifests and lineage, {members:,} members", read),
        check,
        setup.pick(1, 3, 1),
        measurements=measurements,
    )


def _long_run(setup: Setup, members: int) -> tuple[int, tuple[int, ...]]:
    """Return members, and numbers of generations that are behind the ones that the driver keeps whole.

    Args:
        setup: The setup of the case.
        members: The members at full size.
    """
    if setup.size == "tiny":
        return 6, (2 * GENERATIONS_IN_MEMORY, 4 * GENERATIONS_IN_MEMORY)
    return setup.pick(members, 200, 0), setup.pick((12, 25, 50, 100), (12, 24, 48), (1,))


def _run(folder: Path, members: int, generations: int, *, files: bool = False) -> DriverCosts:
    from benchmarks.simulated import run_instantly

    return run_instantly(folder, members, generations, files=files)


def _memory_by_generation(folder: Path, members: int, generations: int) -> list[float]:
    from benchmarks.simulated import run_instantly

    return run_instantly(folder, members, generations, watch_memory=True).mib


def _check_replaced(replaced: int, generations: int, members: int) -> str:
    expected = generations * int(np.ceil(CUTOFF * members))
    if replaced != expected:
        raise Disagreement(f"{replaced} members were replaced in {generations} generations, not {expected}")
    return f"{CUTOFF:.0%} of the members are replaced in each generation"


def _folders(base: Path) -> Iterator[Path]:
    for number in count():
        (base / f"run-{number}").mkdir()
        yield base / f"run-{number}"


def _copy_first_generations(whole: Path, part: Path, generations: int) -> None:
    """Make the record of a run's first generations, with hard links to the manifests."""
    (part / "rounds/0").mkdir(parents=True)
    for generation in range(generations):
        name = f"rounds/0/generation-{generation:04d}.json"
        os.link(whole / name, part / name)
    with (whole / "lineage.jsonl").open("rb") as log, (part / "lineage.jsonl").open("wb") as copy:
        finished = 0
        for line in log:
            copy.write(line)
            finished += b'"event": "finished"' in line
            if finished == generations:
                break


def _read_lineage(folder: Path) -> tuple[int, int]:
    """Return how many generations are on record, and how many ancestors the last best member has, itself included."""
    from pbt_disent.population.journal import read_manifests
    from pbt_disent.store.log import AppendOnlyLog

    AppendOnlyLog(folder / "lineage.jsonl", closing="finished")
    manifests = read_manifests(folder / "rounds/0")
    best, ancestors = manifests[-1].best, 0
    member = None if best is None else best.member
    for manifest in reversed(manifests):
        if member is None:
            break
        member, ancestors = manifest.members[member].parent, ancestors + 1
    return len(manifests), ancestors


CASES.register("grow-decision")(
    Case("who goes on and who is copied, up to 10,000 members: against linear growth, and Tune's PBT", prepare_decision)
)
CASES.register("grow-members")(
    Case("the driver's time for a generation without work: against linear growth in members", prepare_members)
)
CASES.register("grow-generations")(
    Case("the driver's time for a generation: against none that grows with those behind it", prepare_generations)
)
CASES.register("grow-memory")(
    Case("the driver's memory: against none that grows with the generations behind it", prepare_memory)
)
CASES.register("grow-lineage")(
    Case("reading a population's record back: against linear growth in generations", prepare_lineage)
)
