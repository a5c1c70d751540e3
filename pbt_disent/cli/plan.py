"""Say what a run would cost on this machine, without running it."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pbt_disent.cli.common import add_config_arguments, config_of, duration
from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.api import Prepared
    from pbt_disent.config import ResourcesConfig
    from pbt_disent.models import ResolvedObjective
    from pbt_disent.store.run_folder import RunFolder
    from pbt_disent.training.calibrate import Calibration
    from pbt_disent.training.tasks import WorkerContext

__all__ = ["add_arguments", "call", "print_plan", "refuse_without_room"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_config_arguments(parser)


def call(options: argparse.Namespace) -> int:
    """Prepare the run in a temporary folder, measure for ten seconds, and print the plan."""
    from pbt_disent.api import prepare
    from pbt_disent.cli.execution import device_of
    from pbt_disent.cli.progress import bar
    from pbt_disent.store.runs import create_run

    _, config = config_of(options)
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as temporary:
        folder = create_run(config, "plan", Path(temporary), None)
        with bar("images") as progress:
            prepared = prepare(folder, progress=progress, device=device_of(config))
        print_plan(prepared, seconds=10.0)
    return 0


def print_plan(prepared: Prepared, *, seconds: float, check_room: bool = False) -> float:
    """Measure how fast this machine trains and print what the run costs at most; return the seconds it will take.

    Args:
        prepared: the run.
        seconds: how long to measure.
        check_room: refuse a run that its storage has no room for.

    Raises:
        UserError: it has none.
    """
    from pbt_disent.rounds.budget import budget
    from pbt_disent.training.calibrate import on_scratch

    config, context = prepared.config, prepared.context
    with on_scratch(context) as scratch:
        measured = _measure(scratch, prepared.objectives, len(prepared.images), seconds)
    names = " and ".join(one.name for one in prepared.objectives)
    cost = budget(config)
    workers = min(_workers(config.resources), cost.models)
    expected = cost.passes / (measured.images_per_second * workers) + START_SECONDS
    images_bytes = prepared.images.array.nbytes
    memory = BASE_BYTES + workers * WORKER_BYTES + images_bytes
    disk = cost.disk(measured.checkpoint) + images_bytes
    print(
        f"{prepared.folder.name}: {config.method} with {names} on {prepared.data.name}, "
        f"{len(prepared.data):,} images of {'x'.join(map(str, prepared.data.shape))}, seed {config.seed}"
    )
    if prepared.told:
        print(f"  {prepared.told}")
    for part in cost.parts:
        larger = f" ({part.first} in the first)" if part.first > part.models else ""
        times = f"up to {part.rounds} x " if part.rounds > 1 else ""
        print(
            f"  {part.name:12} {times}{part.models} models{larger}, {part.generations} generations "
            f"of {part.images:,} images: {part.passes:,} image passes"
        )
    print(
        f"  in all       {cost.passes:,} image passes at most, {measured.images_per_second:,.0f} a second on each of "
        f"{workers} workers"
    )
    print(f"  needs        about {memory / 2**30:.1f} GiB of memory and {disk / 2**20:,.0f} MiB of disk")
    print(f"  will take    about {duration(expected)} on this machine", flush=True)
    if check_room:
        refuse_without_room(prepared.folder, cost.disk(measured.checkpoint))
    return expected


def _workers(resources: ResourcesConfig) -> int:
    """Return how many workers this machine has for a run; one that joins a cluster is counted as if it were here."""
    from pbt_disent.machine import usable_cpus, visible_gpus
    from pbt_disent.tune.capacity import plan_capacity

    if resources.address is not None and (resources.gpus or 0) > visible_gpus():
        return resources.cpus or usable_cpus()
    return plan_capacity(resources, 1).workers


def refuse_without_room(folder: RunFolder, needed: int) -> None:
    """Refuse a run whose storage has no room for what it will hold at its largest, beside what it holds already.

    Raises:
        UserError: it has none.
    """
    from pbt_disent.store.blobs import BlobStore

    blobs = BlobStore(folder.blobs)
    if (free := blobs.free_bytes()) is None:
        return
    needed -= sum(map(blobs.size, blobs.digests()))
    if needed > free:
        raise UserError(
            f"run {folder.location}",
            f"needs {needed / 2**20:,.0f} MiB of disk, and {free / 2**20:,.0f} are free there",
            "free some, or choose another place with --runs",
        )


def _measure(context: WorkerContext, objectives: Sequence[ResolvedObjective], size: int, seconds: float) -> Calibration:
    """Measure the objectives one after another, and return the mean of them all: members start with each in turn."""
    from pbt_disent.training.calibrate import Calibration, calibrate

    found = []
    for one in objectives:
        context = replace(context, objective=one.name, settings=one.settings, others=())
        middle = one.complete({name: mutable.at(0.5) for name, mutable in one.space.items()})
        found.append(calibrate(context, size, middle, seconds / len(objectives)))
    rate = len(found) / sum(1 / one.images_per_second for one in found)
    return Calibration(rate, max(one.checkpoint for one in found))


START_SECONDS = 30.0
"""Starting Ray, scoring, and writing the report."""
BASE_BYTES = 1400 * 2**20
"""Measured: driver, Ray's own processes, slots and the MLflow writer of a run of the demo's size."""
WORKER_BYTES = 400 * 2**20
"""Measured: one worker with torch."""
