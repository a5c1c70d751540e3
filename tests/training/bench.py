"""A small task on real images with everything that it needs: what the tests of training work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pbt_disent import data
from pbt_disent.data.storage import materialise
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.tasks import SupervisionDigests, TaskKey, TrainTask, WorkerContext
from pbt_disent.types import UInt8Array
from tests.objectives import options_of

__all__ = ["SHAPE", "Bench", "make_bench"]

SHAPE = (1, 32, 32)

GRID = {"shape": [0, 2], "scale": 2, "orientation": 2, "x": 5, "y": 5}
"""200 images, no two alike."""


@dataclass(frozen=True)
class Bench:
    """A context, its blobs, its images, and a task of two replicas: 5 steps of 32 of the 200 images, 50 probed."""

    context: WorkerContext
    blobs: BlobStore
    images: UInt8Array
    task: TrainTask

    def after(self, checkpoints: tuple[str, ...], **changes: Any) -> TrainTask:
        """Return the task of the next generation, which goes on from these checkpoints."""
        key = replace(self.task.key, generation=self.task.key.generation + 1)
        return replace(self.task, key=key, origins=checkpoints, **changes)


def make_bench(folder: Path, objective: str, **settings: Any) -> Bench:
    """Return a bench for an objective with 3 latents, its hyperparameters in the middle of their ranges.

    Labels and partners are random, where the objective needs them.
    """
    world = data.load("sprites", size=32, grid=GRID)
    stored = materialise(world, folder / "images")
    needed = {"classes": [6]} if objective == "ssdgm" else {}
    options = options_of(objective, world.shape, **{"latents": 3, "batch_size": 32, **needed, **settings})
    blobs, rng = BlobStore(folder / "blobs"), np.random.default_rng(0)
    labels = partners = None
    if "labels" in options.needs:
        labels = blobs.put_array(rng.integers(-1, 6, (200, 1)))
    if "partner" in options.needs:
        partners = blobs.put_array(rng.integers(0, 200, (200, 4)))
    task = TrainTask(
        key=TaskKey("0", 0, 0, (0, 1)),
        seed=1,
        objective=options,
        origins=(None, None),
        hyperparameters=options.defaults,
        image_passes=150,
        subset=None,
        probe=blobs.put_array(np.arange(0, 200, 4)),
        supervision=SupervisionDigests(labels, partners),
    )
    context = WorkerContext(str(blobs.root), str(stored.folder))
    return Bench(context, blobs, np.array(stored.array), task)
