"""The verb `plan`, and what this machine offers a run: its resources, its device, the time and the room it takes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import Changes, ConfigName, Cpus, Data, Gpus, Memory, read_config, resource_overrides
from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.api import PreparedRun
    from pbt_disent.config import Config, ResourcesConfig
    from pbt_disent.store.run_folder import RunFolder
    from pbt_disent.training.calibrate import Calibration
    from pbt_disent.training.tasks import WorkerContext

__all__ = ["check_resources", "device_of", "plan", "print_plan", "refuse_without_room"]

START_SECONDS = 30.0
"""The time to start Ray, to score, and to write the report."""
BASE_BYTES = 1400 * 2**20
"""The memory of the driver, Ray's own processes, the slots and the MLflow writer, measured on the demo."""
WORKER_BYTES = 400 * 2**20
"""The memory of one worker with torch, measured."""


@verb("plan my.yaml", "plan --data my-pictures/", "plan demo --set population.size=16 --cpus 8")
def plan(
    config: ConfigName = None,
    data: Data = None,
    changes: Changes = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
) -> None:
    """Say what a run would cost on this machine, without running it.

    The images are prepared and the speed of training is measured for ten seconds.
    """
    from pbt_disent.api import prepare
    from pbt_disent.cli.progress import bar
    from pbt_disent.store.runs import create_run

    _, resolved = read_config(config, data, [*resource_overrides(cpus, gpus, memory), *(changes or [])])
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as temporary:
        folder = create_run(resolved, "plan", Path(temporary), None)
        with bar("images") as progress:
            prepared = prepare(folder, progress=progress, device=device_of(resolved))
        print_plan(prepared, seconds=10.0)


def check_resources(config: Config) -> None:
    """Refuse a config that asks for more than this machine has; what a cluster has is known when it is joined.

    Raises:
        UserError: The config asks for more CPUs or memory than there are, or for a cluster that does not answer.
    """
    from pbt_disent.machine import usable_cpus, usable_memory
    from pbt_disent.tune.address import address_to_join, check_reachable

    if (address := address_to_join(config.resources.address)) is not None:
        check_reachable(address)
        return
    cpus, memory = config.resources.cpus, config.resources.memory_gib
    if cpus is not None and cpus > usable_cpus():
        raise UserError(
            f"resources.cpus={cpus}", f"must be at most {usable_cpus()} here", "leave it out to use them all"
        )
    if memory is not None and memory * 2**30 > usable_memory():
        usable = usable_memory() / 2**30
        raise UserError(f"resources.memory_gib={memory:g}", f"must be at most {usable:.1f} here", "leave it out")


def device_of(config: Config) -> str:
    """Return the device that the workers of a run on this machine train on: ``cuda`` or ``cpu``."""
    from pbt_disent.machine import visible_gpus

    return "cuda" if config.resources.gpus != 0 and visible_gpus() else "cpu"


def print_plan(prepared: PreparedRun, *, seconds: float, check_room: bool = False) -> float:
    """Measure how fast this machine trains, and print what a run costs at most.

    Args:
        prepared: The run, with its images on disk.
        seconds: How long to measure.
        check_room: Whether to refuse a run that its storage has no room for.

    Returns:
        The expected duration of the run in seconds.

    Raises:
        UserError: The storage has no room for the run.
    """
    from pbt_disent.rounds.budget import run_cost
    from pbt_disent.training.calibrate import scratch_store
    from pbt_disent.units import duration

    config, context = prepared.config, prepared.context
    with scratch_store(context, prepared.supervision) as scratch:
        measured = _measure(scratch, prepared, seconds)
    names = " and ".join(objective.name for objective in prepared.objectives)
    cost = run_cost(config)
    workers = min(_workers(config.resources), cost.models)
    expected = cost.image_passes / (measured.images_per_second * workers) + START_SECONDS
    images_bytes = prepared.images.array.nbytes
    memory = BASE_BYTES + workers * WORKER_BYTES + images_bytes
    disk = cost.disk_bytes(measured.checkpoint_bytes) + images_bytes
    print(
        f"{prepared.folder.name}: {config.method} with {names} on {prepared.data.name}, "
        f"{len(prepared.data):,} images of {'x'.join(map(str, prepared.data.shape))}, seed {config.seed}"
    )
    if prepared.supervision_summary:
        print(f"  {prepared.supervision_summary}")
    for part in cost.rounds:
        larger = f" ({part.first} in the first)" if part.first > part.models else ""
        times = f"up to {part.rounds} x " if part.rounds > 1 else ""
        print(
            f"  {part.name:12} {times}{part.models} models{larger}, {part.generations} generations "
            f"of {part.num_images:,} images: {part.image_passes:,} image passes"
        )
    print(
        f"  in all       {cost.image_passes:,} image passes at most, {measured.images_per_second:,.0f} a second "
        f"on each of {workers} workers"
    )
    print(f"  needs        about {memory / 2**30:.1f} GiB of memory and {disk / 2**20:,.0f} MiB of disk")
    print(f"  will take    about {duration(expected)} on this machine", flush=True)
    if check_room:
        refuse_without_room(prepared.folder, cost.disk_bytes(measured.checkpoint_bytes))
    return expected


def _workers(resources: ResourcesConfig) -> int:
    """Return how many workers this machine has for a run; a run that joins a cluster is counted as if it were here."""
    from pbt_disent.machine import usable_cpus, visible_gpus
    from pbt_disent.tune.resources import allocate_machine

    if resources.address is not None and (resources.gpus or 0) > visible_gpus():
        return resources.cpus or usable_cpus()
    return allocate_machine(resources, 1).workers


def refuse_without_room(folder: RunFolder, needed: int) -> None:
    """Refuse a run whose storage has too little room for it.

    Args:
        folder: The folder of the run.
        needed: The bytes that the run will hold at its largest, with those that it holds already.

    Raises:
        UserError: The storage has too little room.
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


def _measure(context: WorkerContext, prepared: PreparedRun, seconds: float) -> Calibration:
    """Measure the objectives one after another, and return the mean: members start with each of them in turn."""
    from pbt_disent.training.calibrate import Calibration, calibrate

    calibrations = []
    for options in prepared.objectives:
        middle = {name: declared.from_unit(0.5) for name, declared in options.space.items()}
        calibrations.append(
            calibrate(
                context,
                options,
                len(prepared.images),
                seconds / len(prepared.objectives),
                hyperparameters={**options.fixed, **middle},
                supervision=prepared.supervision,
            )
        )
    rate = len(calibrations) / sum(1 / calibration.images_per_second for calibration in calibrations)
    return Calibration(rate, max(calibration.checkpoint_bytes for calibration in calibrations))
