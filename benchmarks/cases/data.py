"""Images: drawing the rendered worlds, serving shuffled batches, and the memory of a worker that serves them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.baselines.drawing import draw_rooms, draw_sprites
from benchmarks.case import (
    CASES,
    Case,
    Comparison,
    Disagreement,
    Goal,
    Implementation,
    Measurement,
    Scaling,
    ScalingImplementation,
    Setup,
    Unavailable,
)
from benchmarks.machine import private_mib
from benchmarks.timing import timed
from pbt_disent.data.grid import GridOption
from pbt_disent.types import UInt8Array

__all__ = ["prepare_batches", "prepare_images", "prepare_memory", "prepare_rooms", "prepare_sprites"]

MEAN_WRONG_PIXELS, MAX_WRONG_PIXELS = 2.5, 20
"""Pixels of 4,096 in which two renderings of a sprite may differ: at most the row beside one side of a square."""
BATCH_SERVED = "a batch served"
MAPPED, FLOATS = "mapped images", "float32 copy in each worker"
MIB = 2**20
FREE_COPIES = 1.3
"""The free memory that the float32 copy needs, in copies."""


def prepare_sprites(setup: Setup) -> Comparison:
    """A part of dSprites' grid spread over all its factors; the renderings may differ in a few border pixels."""
    from pbt_disent.data.worlds.sprites import Sprites

    grid: GridOption = {name: setup.pick(full, 3, 2) for name, full in {"orientation": 10, "x": 4, "y": 4}.items()}
    world = Sprites(size=64, grid=grid)
    indices = np.arange(len(world))
    levels = world.factor_grid.published(indices)

    def draw() -> UInt8Array:
        return Sprites(size=64, grid=grid).images(indices)

    def check() -> str:
        wrong = (draw() != draw_sprites(levels)).sum(axis=(1, 2, 3))
        if wrong.mean() > MEAN_WRONG_PIXELS or wrong.max() > MAX_WRONG_PIXELS:
            raise Disagreement(f"sprites differ in {wrong.mean():.2f} pixels on average and {wrong.max()} at most")
        return f"{wrong.mean():.2f} of 4,096 pixels differ on average, {wrong.max()} at most"

    ours = timed("outlines by exact coverage", draw, items=len(world))
    baseline = timed("Pillow, each image at 8 times the size", lambda: draw_sprites(levels), items=len(world))
    measurements = partial(_measure_full_grid, setup, "sprites", 90.0, ours.name)
    return Comparison(ours, [baseline], check, setup.pick(3, 3, 1), "s/image", measurements)


def prepare_rooms(setup: Setup) -> Comparison:
    """All colours of one view, which serves as many images as in the full grid; the baseline draws some of them."""
    from pbt_disent.data.worlds.rooms import Rooms

    hues = setup.pick(10, 10, 2)
    grid: GridOption = {"floor_hue": hues, "wall_hue": hues, "object_hue": hues, "scale": 1, "shape": 1}
    grid = {**grid, "orientation": 1}
    size = setup.pick(64, 64, 16)
    world = Rooms(size=size, grid=grid)
    indices = np.arange(len(world))
    some = indices[:: setup.pick(20, 50, 1)]
    levels = world.factor_grid.published(some)

    def check() -> str:
        difference = np.abs(world.images(some).astype(int) - draw_rooms(levels, size)).max()
        if difference > 1:
            raise Disagreement(f"rooms differ by {difference} grey levels")
        return f"grey levels within {difference}"

    ours = timed(
        "a view cast once, then coloured", lambda: Rooms(size=size, grid=grid).images(indices), items=len(world)
    )
    baseline = timed("each image cast anew", lambda: draw_rooms(levels, size), items=len(some))
    measurements = partial(_measure_full_grid, setup, "rooms", 120.0, ours.name)
    return Comparison(ours, [baseline], check, setup.pick(3, 3, 1), "s/image", measurements)


def prepare_batches(setup: Setup) -> Comparison:
    """256 random images of 64x64 per batch, as the trainer draws them; the baseline is a step of a beta-TCVAE on one.

    Each time, the batches follow one another through shuffled epochs of a set that has just been written, so that it is
    in the page cache.
    """
    import torch

    from benchmarks.training_steps import build_beta_tcvae
    from pbt_disent.data import load, materialise
    from pbt_disent.training.loop import batches, step_once
    from pbt_disent.training.supervision import Supervision

    size, batch = setup.pick(64, 64, 32), setup.pick(256, 256, 16)
    grid = {"orientation": setup.pick(20, 10, 2), "x": setup.pick(16, 8, 2), "y": setup.pick(16, 8, 2)}
    world = load("sprites", size=size, grid=grid)
    images = materialise(world, setup.shared_folder / "images").array
    supervision, rng = Supervision(), np.random.default_rng(0)
    _, objective = build_beta_tcvae(world.shape, dataset_size=len(world), batch_size=batch)
    objective.train()
    optimizers, noise = objective.optimizers(), torch.Generator().manual_seed(1)
    order = batches(len(images), batch, 1_000_000, np.random.default_rng(0))
    first_batch = supervision.batch(images, np.arange(batch), "cpu", rng)

    def serve() -> None:
        supervision.batch(images, next(order), "cpu", rng)

    def check() -> str:
        indices = next(order)
        served = supervision.batch(images, indices, "cpu", rng).images.numpy()
        if not np.allclose(served, world.images(indices) / 255, atol=1e-7):
            raise Disagreement("a batch does not hold the images that were asked for")
        return "batches hold the images asked for, as float32 in 0 to 1"

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        step = max(cost for name, cost in medians.items() if name != BATCH_SERVED)
        return [Measurement("share of a step", 100 * medians[BATCH_SERVED] / step, "%", Goal(3, at_most=True))]

    def train() -> None:
        step_once(objective, optimizers, first_batch, 0, noise)

    return Comparison(
        timed(BATCH_SERVED, serve, number=setup.pick(50, 20, 2)),
        [timed("a beta-TCVAE's training step on it", train)],
        check,
        repeats=setup.pick(4, 2, 1),
        measurements=measurements,
    )


def prepare_images(setup: Setup) -> Scaling:
    """Serve shuffled batches of 256 from ever larger sets: a batch should take as long, and no memory be added."""
    from pbt_disent.data import load, materialise
    from pbt_disent.training.loop import batches
    from pbt_disent.training.supervision import Supervision

    size = setup.pick(64, 64, 16)
    steps = setup.pick((2, 4, 8, 16), (2, 4, 8), (1, 2))
    supervision, rng = Supervision(), np.random.default_rng(0)
    arrays = {}
    for step in steps:
        world = load("sprites", size=size, grid={"orientation": setup.pick(40, 10, 1), "x": step, "y": 2 * step})
        arrays[len(world)] = materialise(world, setup.shared_folder / f"images-{step}").array
    batch = min(256, *arrays)
    orders = {num_images: batches(num_images, batch, 1_000_000, np.random.default_rng(0)) for num_images in arrays}

    def serve(num_images: int) -> None:
        supervision.batch(arrays[num_images], next(orders[num_images]), "cpu", rng)

    def cost(num_images: int) -> float:
        return timed(BATCH_SERVED, lambda: serve(num_images), number=setup.pick(60, 30, 2)).costs()[0]

    def check() -> str:
        for num_images, array in arrays.items():
            indices = np.arange(num_images - batch, num_images)
            served = supervision.batch(array, indices, "cpu", rng).images.numpy()
            if not np.allclose(served, array[indices] / 255, atol=1e-7):
                raise Disagreement(f"a batch of {num_images:,} images does not hold what was asked for")
        return f"batches of up to {max(arrays):,} images hold what was asked for"

    def measurements(medians: Mapping[int, float]) -> Sequence[Measurement]:
        largest = max(arrays)
        before = private_mib()
        for _ in range(0, largest, batch):
            serve(largest)
        return [Measurement(f"private memory added by an epoch of {largest:,} images", private_mib() - before, "MiB")]

    return Scaling(
        "images",
        sorted(arrays),
        0,
        ScalingImplementation(BATCH_SERVED, cost),
        check,
        repeats=setup.pick(3, 3, 1),
        measurements=measurements,
    )


def prepare_memory(setup: Setup) -> Comparison:
    """A process of its own passes over every image once, in shuffled batches of 256, and then reads its own smaps.

    The baseline holds the set as float32, as the reference's workers do. The full size is the full sprites grid.
    """
    import psutil

    from pbt_disent.data import load, materialise

    grid = setup.pick({}, {"orientation": 8, "x": 16, "y": 16}, {"orientation": 2, "x": 4, "y": 4})
    stored = materialise(load("sprites", size=setup.pick(64, 64, 16), grid=grid), setup.shared_folder / "images")
    added: dict[str, float] = {}
    first_passes: dict[str, _Pass] = {}

    def run(name: str) -> _Pass:
        work = _pass_over_mapped if name == MAPPED else _pass_over_floats
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(work, stored.folder).result()

    def costs(name: str) -> Sequence[float]:
        memory = first_passes.pop(name) if name in first_passes else run(name)
        added[name] = memory.after - memory.before
        return [memory.after]

    def check() -> str:
        if isinstance(baseline, Unavailable):
            return "no baseline to agree with"
        first_passes.update({name: run(name) for name in (MAPPED, FLOATS)})
        sums = {memory.pixel_sum for memory in first_passes.values()}
        if len(sums) > 1:
            raise Disagreement(f"the workers saw pixels of different sums: {sums}")
        return f"both see the same {len(stored):,} images"

    def measurements(medians: Mapping[str, float]) -> Sequence[Measurement]:
        return [
            Measurement("added by serving the images", added[MAPPED], "MiB", Goal(150, at_most=True)),
            Measurement("size of the set on disk", stored.array.nbytes / MIB, "MiB"),
        ]

    baseline: Implementation | Unavailable = Implementation(FLOATS, partial(costs, FLOATS))
    needed, available = FREE_COPIES * 4 * stored.array.nbytes, psutil.virtual_memory().available
    if needed > available:
        reason = f"needs {needed / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} are free"
        baseline = Unavailable(FLOATS, reason)
    ours = Implementation(MAPPED, partial(costs, MAPPED))
    return Comparison(ours, [baseline], check, repeats=1, unit="MiB", measurements=measurements)


class _Pass(NamedTuple):
    """The private memory of a process in MiB before and after a pass over a set, and the sum of all pixels."""

    before: float
    after: float
    pixel_sum: int


def _pass_over_mapped(folder: Path) -> _Pass:
    """Pass over stored images as our trainer does."""
    import torch

    from pbt_disent.data.storage import StoredImages
    from pbt_disent.training.loop import batches
    from pbt_disent.training.supervision import Supervision

    torch.set_num_threads(1)
    rng, supervision, total = np.random.default_rng(0), Supervision(), 0.0
    before = private_mib()
    images = StoredImages.open(folder).array
    for indices in batches(len(images), 256, len(images) // 256, rng):
        total += float(supervision.batch(images, indices, "cpu", rng).images.sum(dtype=torch.float64))
    return _Pass(before, private_mib(), round(total))


def _pass_over_floats(folder: Path) -> _Pass:
    """Pass over stored images as a worker that holds them in float32."""
    import torch

    from pbt_disent.data.storage import StoredImages

    torch.set_num_threads(1)
    rng, total = np.random.default_rng(0), 0.0
    before = private_mib()
    floats = StoredImages.open(folder).array.astype(np.float32)
    floats /= 255
    images = torch.from_numpy(floats)
    order = rng.permutation(len(images))
    for start in range(0, len(order) - 255, 256):
        total += float(images[order[start : start + 256]].sum(dtype=torch.float64))
    return _Pass(before, private_mib(), round(total))


def _measure_full_grid(
    setup: Setup, world: str, goal: float, ours: str, medians: Mapping[str, float]
) -> Sequence[Measurement]:
    """Return the images a second of one process, and at full size, once, the time of the full grid to disk."""
    from pbt_disent.data import load, materialise
    from pbt_disent.machine import usable_cpus

    rate = Measurement("drawn by one process", 1 / medians[ours], "images/s")
    if setup.size != "full" or not setup.is_first_session:
        return [rate]
    start = time.perf_counter()
    materialise(load(world), setup.folder / world, processes=usable_cpus())
    seconds = time.perf_counter() - start
    name = f"full grid to disk with {usable_cpus()} processes"
    return [rate, Measurement(name, seconds, "s", Goal(goal, at_most=True))]


CASES.register("render-sprites")(Case("drawing sprites: against Pillow, image by image", prepare_sprites))
CASES.register("render-rooms")(Case("drawing rooms: against casting every image", prepare_rooms))
CASES.register("batches")(
    Case("serving 256 random images: against the training step that consumes them", prepare_batches, Goal(10))
)
CASES.register("grow-images")(
    Case("serving a batch: against none of it growing with the images of the set", prepare_images)
)
CASES.register("memory")(
    Case("private memory of a worker that has seen every sprite: against a float32 copy", prepare_memory)
)
