"""A stretch of training steps of k beta-TCVAEs on a GPU, ours and the plain loop, from the same weights and noise."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import numpy as np
import torch

from benchmarks.peers.plain_vae import step_of
from benchmarks.training_step import TrainingStep
from pbt_disent.training.batches import batches
from pbt_disent.training.group import Group, Replica
from pbt_disent.training.replaying import replaying
from pbt_disent.training.resident import ResidentImages
from pbt_disent.training.supervision import Supervision
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.types import IntArray

__all__ = ["GpuTraining"]

Stretch = Callable[[int], list[float]]
"""Takes so many steps, waits for the GPU, and returns the mean loss of each replica over them."""


class GpuTraining(TrainingStep):
    """The work of the case; each method returns a function that takes further steps, on batches of its own order.

    Args:
        size: of the images, 64 or 32.
        replicas: k.
        batch: B.
    """

    def __init__(self, size: int, replicas: int, batch: int) -> None:
        super().__init__(size, replicas, batch, device="cuda")

    def recorded(self, *, stacked: bool = False, bf16: bool = False) -> Stretch:
        """Return the steps as workers take them: images on the GPU, steps recorded, replicas side by side or stacked.

        Recording is done anew in every stretch, as it is in every task.
        """
        noise = self._noise()
        models = [self._build(replica).train() for replica in range(self.replicas)]
        replicas = [Replica(one, one.optimizers(), noise[place]) for place, one in enumerate(models)]
        name, settings = self._resolved.name, self._resolved.settings
        context = WorkerContext("", "", name, settings, device="cuda", stacked=stacked, bf16=bf16)
        resident, order, taken = ResidentImages.load(self._images, "cuda"), np.random.default_rng(0), 0
        assert resident is not None

        def stretch(steps: int) -> list[float]:
            nonlocal taken
            group = Group(replicas, context)
            feed = resident.told(Supervision(), self._order(steps, order), order)
            with group.training(), replaying(group, feed, taken, steps) as take:
                for step in range(steps):
                    take(step)
            taken += steps
            torch.cuda.synchronize()
            return [means["loss"] for means in group.means()]

        return stretch

    def plain_loop(self) -> Stretch:
        """Return the plain loop: float32 images on the host, one replica after another, every kernel launched alone."""
        models, noise = self.plain_models(), self._noise()
        optimizer = torch.optim.Adam([p for model in models for p in model.parameters()], lr=self.RATE, foreach=False)
        floats, order = torch.from_numpy(self._images).float() / 255, np.random.default_rng(0)
        constant = (self.BETA - 1) * (self.LATENTS - 1) * np.log(self.IMAGES)

        def stretch(steps: int) -> list[float]:
            sums = torch.zeros(self.replicas, device="cuda")
            for chosen in self._order(steps, order):
                images = floats[torch.from_numpy(chosen)].to("cuda")
                sums += torch.stack(step_of(models, optimizer, images, self.BETA, self.IMAGES, noise))
            torch.cuda.synchronize()
            return [float(total) / steps - constant for total in sums]

        return stretch

    def _order(self, steps: int, generator: np.random.Generator) -> Iterator[IntArray]:
        return batches(len(self._images), len(self._chosen), steps, generator)

    def side_by_side(self, workers: int, steps: int) -> float:
        """Return the seconds that some processes on one GPU take for a stretch each, all at the same time."""
        context = multiprocessing.get_context("spawn")
        ends: list[Connection] = []
        for _ in range(workers):
            here, there = context.Pipe()
            work = (there, self._shape[1], self.replicas, len(self._chosen), steps)
            context.Process(target=_serve, args=work, daemon=True).start()
            ends.append(here)
        for end in ends:
            end.recv()
        begun = time.perf_counter()
        for end in ends:
            end.send(None)
        for end in ends:
            end.recv()
        return time.perf_counter() - begun


def _serve(end: Connection, size: int, replicas: int, batch: int, steps: int) -> None:
    """Be a worker: warm up, say so, and take one stretch when told to."""
    stretch = GpuTraining(size, replicas, batch).recorded()
    stretch(steps)
    end.send(None)
    end.recv()
    end.send(stretch(steps))
