"""How a worker's work grows: with the replicas of a member, and with the images of the set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.case import CASES, Case, Disagreement, Grower, Growth, Measure, Setting
from benchmarks.memory import private_mib
from benchmarks.timing import timed

__all__ = ["prepare_images", "prepare_replicas"]

TOLERANCE = 1e-5


def prepare_replicas(setting: Setting) -> Growth:
    """A training step of ever more beta-TCVAEs on one batch of 64 at 32x32 and one thread, against the plain loop."""
    from benchmarks.training_step import TrainingStep, one_thread

    sizes = setting.pick((1, 2, 4, 8, 16), (1, 2, 4), (1, 2))
    works = {size: TrainingStep(32, size, setting.pick(64, 64, 16)) for size in sizes}
    ours = {size: work.ours() for size, work in works.items()}
    plain = {size: work.plain() for size, work in works.items()}

    def agree() -> str:
        pairs = [pair for size in sizes for pair in zip(ours[size](), plain[size](), strict=True)]
        apart = max(abs(a - b) / abs(b) for a, b in pairs)
        if not apart < TOLERANCE:
            raise Disagreement(f"losses differ by {apart:.1e} of their size")
        return f"losses of a first step within {apart:.0e} of their size"

    times = setting.pick(10, 2, 1)

    def cost(step: Callable[[], object]) -> float:
        with one_thread():
            return timed("", step, times=times).costs()[0]

    return Growth(
        "replicas",
        sizes,
        1,
        Grower("as a worker trains", lambda size: cost(ours[size])),
        agree,
        setting.pick(1, 2, 1),
        [Grower("plain loop", lambda size: cost(plain[size]))],
        measures=lambda medians: [Measure("for a replica", 1000 * medians[sizes[-1]] / sizes[-1], "ms")],
    )


def prepare_images(setting: Setting) -> Growth:
    """Serve shuffled batches of 256 from ever larger sets: a batch should take as long, and no memory be added."""
    from pbt_disent.data import load, materialise
    from pbt_disent.training.batches import batches
    from pbt_disent.training.supervision import Supervision

    size = setting.pick(64, 64, 16)
    steps = setting.pick((2, 4, 8, 16), (2, 4, 8), (1, 2))
    supply, rng = Supervision(), np.random.default_rng(0)
    sets = {}
    for step in steps:
        world = load("sprites", size=size, grid={"orientation": setting.pick(40, 10, 1), "x": step, "y": 2 * step})
        sets[len(world)] = materialise(world, setting.kept / f"images-{step}").array
    batch = min(256, *sets)
    orders = {images: batches(images, batch, 1_000_000, np.random.default_rng(0)) for images in sets}

    def serve(images: int) -> None:
        supply.batch(sets[images], next(orders[images]), "cpu", rng)

    def agree() -> str:
        for images, array in sets.items():
            chosen = np.arange(images - batch, images)
            if not np.allclose(supply.batch(array, chosen, "cpu", rng).images.numpy(), array[chosen] / 255, atol=1e-7):
                raise Disagreement(f"a batch of {images:,} images does not hold what was asked for")
        return f"batches of up to {max(sets):,} images hold what was asked for"

    def measures(medians: Mapping[int, float]) -> Sequence[Measure]:
        largest = max(sets)
        before = private_mib()
        for _ in range(0, largest, batch):
            serve(largest)
        return [Measure(f"private memory added by an epoch of {largest:,} images", private_mib() - before, "MiB")]

    times = setting.pick(60, 30, 2)
    return Growth(
        "images",
        sorted(sets),
        0,
        Grower("a batch served", lambda images: timed("", lambda: serve(images), times=times).costs()[0]),
        agree,
        setting.pick(3, 3, 1),
        measures=measures,
    )


CASES.register("grow-replicas")(
    Case("training step of a member: against linear growth in replicas, and the plain loop", prepare_replicas)
)
CASES.register("grow-images")(
    Case("serving a batch: against none of it growing with the images of the set", prepare_images)
)
