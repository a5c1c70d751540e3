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

from benchmarks.case import CASES, Case, Disagreement, Grower, Growth, Measure, Setting

if TYPE_CHECKING:
    from benchmarks.instant import Played

__all__ = ["prepare_decision", "prepare_generations", "prepare_lineage", "prepare_members", "prepare_memory"]

CUTOFF = 0.2
SETTLED = 3
"""Generations that the driver keeps whole: its memory is compared beyond them."""


def prepare_decision(setting: Setting) -> Growth:
    """From the last score of a generation to the plan of the next one: who goes on, who is copied, and mutated how.

    The peer is the synchronous scheduler of Tune, which takes in one result for each member and decides at the last.
    """
    from benchmarks.peers.tune_pbt import decide_plainly

    folders = _folders(setting.folder)

    def ours(members: int) -> float:
        return min(_play(next(folders), members, 3).decisions)

    sizes = setting.pick((100, 1000, 10_000), (100, 1000, 10_000), (20, 40))
    peer = Grower("Tune's PBT scheduler", decide_plainly, most=setting.pick(2000, 1000, 40))
    return Growth(
        "members",
        sizes,
        1,
        Grower("the rule", ours),
        lambda: _check(_play(next(folders), sizes[0], 2).replaced, 2, sizes[0]),
        1,
        [peer],
        measures=lambda medians: [Measure(f"for {sizes[-1]:,} members", medians[sizes[-1]], "s")],
    )


def prepare_members(setting: Setting) -> Growth:
    """A generation of the driver alone: tasks, records, decision, manifest, lineage, and the deletion of old blobs."""
    folders = _folders(setting.folder)

    def ours(members: int) -> float:
        return float(np.median(_play(next(folders), members, 5, files=True).seconds[2:]))

    sizes = setting.pick((100, 400, 1600, 6400), (100, 400, 1600), (10, 20))

    def measures(medians: Mapping[int, float]) -> Sequence[Measure]:
        return [Measure("of the driver for a member and generation", 1e6 * medians[sizes[-1]] / sizes[-1], "µs")]

    return Growth(
        "members",
        sizes,
        1,
        Grower("the driver", ours),
        lambda: _check(_play(next(folders), sizes[0], 2).replaced, 2, sizes[0]),
        1,
        measures=measures,
    )


def prepare_generations(setting: Setting) -> Growth:
    """The time of the driver for a generation, by how many lie behind it; it should not know."""
    members, sizes = _long(setting, 1000)
    folders, played = _folders(setting.folder), dict[int, float]()

    def ours(generation: int) -> float:
        if generation not in played:
            seconds = _play(next(folders), members, sizes[-1]).seconds
            played.update({size: float(np.median(seconds[size // 2 : size])) for size in sizes})
        return played.pop(generation)

    return Growth(
        "generations",
        sizes,
        0,
        Grower(f"the driver, {members:,} members", ours),
        lambda: _check(_play(next(folders), members, 2).replaced, 2, members),
        setting.pick(1, 2, 1),
    )


def prepare_memory(setting: Setting) -> Growth:
    """The driver's memory by how many generations it has committed: it should not grow. In a process of its own."""
    members, sizes = _long(setting, 1000)
    folders, played = _folders(setting.folder), dict[int, float]()

    def ours(generation: int) -> float:
        if generation not in played:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                mib = pool.submit(_memory, next(folders), members, sizes[-1]).result()
            played.update({size: mib[size - 1] for size in sizes})
        return played.pop(generation)

    def measures(medians: Mapping[int, float]) -> Sequence[Measure]:
        added = (medians[sizes[-1]] - medians[sizes[0]]) / (sizes[-1] - sizes[0])
        return [Measure("added by a generation", 1024 * added, "KiB")]

    return Growth(
        "generations",
        sizes,
        0,
        Grower(f"the driver, {members:,} members", ours),
        lambda: _check(_play(next(folders), members, 2).replaced, 2, members),
        1,
        unit="MiB",
        measures=measures,
    )


def prepare_lineage(setting: Setting) -> Growth:
    """Read a population's record: repair its log, read its manifests, follow the best member back."""
    members, sizes = _long(setting, 10_000)
    whole = setting.kept / "whole"
    parts = {size: setting.kept / f"part-{size}" for size in sizes}
    if setting.first:
        _play(whole, members, sizes[-1])
        for size, part in parts.items():
            _copy_part(whole, part, size)

    def agree() -> str:
        read(sizes[0])
        return f"each time all manifests are read, and the winner of {members:,} members has its ancestors"

    def read(size: int) -> float:
        begun = time.perf_counter()
        generations, way = _read(parts[size])
        seconds = time.perf_counter() - begun
        if generations != size or way != size:
            raise Disagreement(f"{generations} of {size} generations were read, and {way} ancestors found")
        return seconds

    def measures(medians: Mapping[int, float]) -> Sequence[Measure]:
        rows = members * sizes[-1]
        stored = sum(path.stat().st_size for path in (*whole.rglob("generation-*.json"), whole / "lineage.jsonl"))
        return [
            Measure("read in a second", rows / medians[sizes[-1]], "members and generations"),
            Measure("on disk for a member and generation", stored / rows, "bytes"),
        ]

    return Growth(
        "generations",
        sizes,
        1,
        Grower(f"manifests and lineage, {members:,} members", read),
        agree,
        setting.pick(1, 3, 1),
        measures=measures,
    )


def _long(setting: Setting, members: int) -> tuple[int, tuple[int, ...]]:
    """Return members, and numbers of generations that are behind the ones that the driver keeps whole.

    Args:
        setting: of the case.
        members: at full size.
    """
    if setting.size == "tiny":
        return 6, (2 * SETTLED, 4 * SETTLED)
    return setting.pick(members, 200, 0), setting.pick((12, 25, 50, 100), (12, 24, 48), (1,))


def _play(folder: Path, members: int, generations: int, *, files: bool = False) -> Played:
    from benchmarks.instant import play_instantly

    return play_instantly(folder, members, generations, files=files)


def _memory(folder: Path, members: int, generations: int) -> list[float]:
    from benchmarks.instant import play_instantly

    return play_instantly(folder, members, generations, watch_memory=True).mib


def _check(replaced: int, generations: int, members: int) -> str:
    expected = generations * int(np.ceil(CUTOFF * members))
    if replaced != expected:
        raise Disagreement(f"{replaced} members were replaced in {generations} generations, not {expected}")
    return f"{CUTOFF:.0%} of the members are replaced in each generation"


def _folders(base: Path) -> Iterator[Path]:
    for number in count():
        (base / f"run-{number}").mkdir()
        yield base / f"run-{number}"


def _copy_part(whole: Path, part: Path, generations: int) -> None:
    """Make the record of a run's first generations, of hard links as far as may be."""
    (part / "rounds/0").mkdir(parents=True)
    for generation in range(generations):
        name = f"rounds/0/generation-{generation:04d}.json"
        os.link(whole / name, part / name)
    with (whole / "lineage.jsonl").open("rb") as log, (part / "lineage.jsonl").open("wb") as copy:
        closed = 0
        for line in log:
            copy.write(line)
            closed += b'"event": "finished"' in line
            if closed == generations:
                break


def _read(folder: Path) -> tuple[int, int]:
    """Return how many generations are on record, and through how many the last best member's weights went."""
    from pbt_disent.population.journal import read_manifests
    from pbt_disent.store.log import AppendOnlyLog

    AppendOnlyLog(folder / "lineage.jsonl", closing="finished")
    manifests = read_manifests(folder / "rounds/0")
    best, way = manifests[-1].best, 0
    member = None if best is None else best.member
    for manifest in reversed(manifests):
        if member is None:
            break
        member, way = manifest.members[member].parent, way + 1
    return len(manifests), way


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
