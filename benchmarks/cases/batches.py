"""Serving random batches from the memory-mapped store, beside what a training step makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Measure, Setting
from benchmarks.timing import timed

__all__ = ["prepare"]

OURS = "a batch served"


def prepare(setting: Setting) -> Contest:
    """256 random images of 64x64 per batch, as the trainer draws them; the peer is a step of a beta-TCVAE on one.

    Each time, the batches follow one another through shuffled epochs of a set that has just been written, so that it is
    in the page cache.
    """
    import torch

    from pbt_disent.config import ObjectiveConfig
    from pbt_disent.data import load, materialise
    from pbt_disent.models import resolve
    from pbt_disent.models.resolve import build
    from pbt_disent.training.batches import batches
    from pbt_disent.training.loop import step_once
    from pbt_disent.training.supervision import Supervision

    size, batch, served = setting.pick(64, 64, 32), setting.pick(256, 256, 16), setting.pick(50, 20, 2)
    grid = {"orientation": setting.pick(20, 10, 2), "x": setting.pick(16, 8, 2), "y": setting.pick(16, 8, 2)}
    world = load("sprites", size=size, grid=grid)
    images = materialise(world, setting.kept / "images").array
    supply, rng = Supervision(), np.random.default_rng(0)
    resolved = resolve(ObjectiveConfig(name="betatcvae", batch_size=batch, lr=1e-3, beta=6), world.shape)
    start = torch.Generator().manual_seed(0)
    objective = build(
        resolved.name, resolved.settings, resolved.complete({}), world.shape, len(world), generator=start
    ).train()
    optimizers, noise = objective.optimizers(), torch.Generator().manual_seed(1)
    order = batches(len(images), batch, 1_000_000, np.random.default_rng(0))
    one = supply.batch(images, np.arange(batch), "cpu", rng)

    def serve() -> None:
        supply.batch(images, next(order), "cpu", rng)

    def agree() -> str:
        chosen = next(order)
        given = supply.batch(images, chosen, "cpu", rng).images.numpy()
        if not np.allclose(given, world.images(chosen) / 255, atol=1e-7):
            raise Disagreement("a batch does not hold the images that were asked for")
        return "batches hold the images asked for, as float32 in 0 to 1"

    def measures(medians: Mapping[str, float]) -> Sequence[Measure]:
        step = max(cost for name, cost in medians.items() if name != OURS)
        return [Measure("share of a step", 100 * medians[OURS] / step, "%", Goal(3, at_most=True))]

    return Contest(
        timed(OURS, serve, times=served),
        [timed("a beta-TCVAE's training step on it", lambda: step_once(objective, optimizers, one, 0, noise))],
        agree,
        setting.pick(4, 2, 1),
        measures=measures,
    )


CASES.register("batches")(
    Case("serving 256 random images: against the training step that consumes them", prepare, Goal(10))
)
