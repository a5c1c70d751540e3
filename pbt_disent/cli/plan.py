"""Say what a run would cost on this machine, without running it."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pbt_disent.cli.common import add_config_arguments, config_of, duration

if TYPE_CHECKING:
    from pbt_disent.api import Prepared

__all__ = ["add_arguments", "call", "print_plan"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_config_arguments(parser)


def call(options: argparse.Namespace) -> int:
    """Prepare the run in a temporary folder, measure for ten seconds, and print the plan."""
    from pbt_disent.api import prepare
    from pbt_disent.store.run_folder import create_run

    _, config = config_of(options)
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as temporary:
        folder = create_run(config, "plan", Path(temporary), None)
        print_plan(prepare(folder), seconds=10.0)
    return 0


def print_plan(prepared: Prepared, *, seconds: float) -> float:
    """Measure how fast this machine trains and print what the run costs at most; return the seconds it will take."""
    from pbt_disent.machine import usable_cpus
    from pbt_disent.rounds.budget import budget
    from pbt_disent.store.blobs import BlobStore
    from pbt_disent.training.calibrate import calibrate

    config, context = prepared.config, prepared.context
    middle = {name: mutable.at(0.5) for name, mutable in prepared.objective.space.items()}
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as temporary:
        scratch = replace(context, store=temporary)
        for digest in prepared.given.values():
            BlobStore(temporary).put(BlobStore(context.store).get(digest))
        measured = calibrate(scratch, len(prepared.images), {**prepared.objective.fixed, **middle}, seconds)
    cost = budget(config)
    workers = config.resources.cpus or usable_cpus()
    workers = min(workers, cost.models)
    expected = cost.passes / (measured.images_per_second * workers) + START_SECONDS
    images_bytes = prepared.images.array.nbytes
    memory = BASE_BYTES + workers * WORKER_BYTES + images_bytes
    disk = cost.disk(measured.checkpoint) + images_bytes
    print(
        f"{prepared.folder.name}: {config.method} with {prepared.objective.name} on {prepared.data.name}, "
        f"{len(prepared.data):,} images of {'x'.join(map(str, prepared.data.shape))}, seed {config.seed}"
    )
    if prepared.told:
        print(f"  {prepared.told}")
    for part in cost.parts:
        times = f"up to {part.rounds} x " if part.rounds > 1 else ""
        print(
            f"  {part.name:12} {times}{part.models} models, {part.generations} generations "
            f"of {part.images:,} images: {part.passes:,} image passes"
        )
    print(
        f"  in all       {cost.passes:,} image passes at most, {measured.images_per_second:,.0f} a second on each of "
        f"{workers} workers"
    )
    print(f"  needs        about {memory / 2**30:.1f} GiB of memory and {disk / 2**20:,.0f} MiB of disk")
    print(f"  will take    about {duration(expected)} on this machine", flush=True)
    return expected


START_SECONDS = 30.0
"""Starting Ray, scoring, and writing the report."""
BASE_BYTES = 1400 * 2**20
"""Measured: driver, Ray's own processes, slots and the MLflow writer of a run of the demo's size."""
WORKER_BYTES = 400 * 2**20
"""Measured: one worker with torch."""
