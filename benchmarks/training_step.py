"""One training step of k beta-TCVAEs, ours and two others, all from the same weights, noise and images."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import ClassVar, Literal

import numpy as np
import torch

from benchmarks.peers.plain_vae import PlainVAE, step_of
from pbt_disent.config import ObjectiveConfig
from pbt_disent.data import load
from pbt_disent.models import resolve
from pbt_disent.models.contract import Objective
from pbt_disent.models.resolve import build
from pbt_disent.training.group import Group, Replica
from pbt_disent.training.supervision import Supervision
from pbt_disent.training.tasks import WorkerContext

__all__ = ["TrainingStep", "one_thread"]

Step = Callable[[], list[float]]
Way = Literal["ours", "plain", "pythae"]


class TrainingStep:
    """The work of the case; each method returns a function that takes a further step and returns the k losses.

    Args:
        size: of the images, 64 or 32.
        replicas: k.
        batch: B.
        device: ``cpu`` or ``cuda``.

    Attributes:
        floats: (B, 1, H, W) the batch.
    """

    BETA: ClassVar[float] = 6.0
    RATE: ClassVar[float] = 1e-4
    LATENTS: ClassVar[int] = 10
    IMAGES: ClassVar[int] = 10_000

    def __init__(self, size: int, replicas: int, batch: int, device: str = "cpu") -> None:
        self.replicas = replicas
        self._device = device
        self._shape = (1, size, size)
        self._rng = np.random.default_rng(0)
        world = load("sprites", size=size, grid={"orientation": 4, "x": 4, "y": 4})
        self._images = world.images(np.arange(len(world)))
        self._chosen = self._rng.permutation(len(self._images))[:batch]
        self.floats = torch.from_numpy(self._images[self._chosen]).float() / 255
        wanted = ObjectiveConfig(name="betatcvae", batch_size=batch, lr=self.RATE, beta=self.BETA, latents=self.LATENTS)
        self._resolved = resolve(wanted, self._shape)
        self._open = contextlib.ExitStack()

    def apart(self, way: Way) -> Step:
        """Return the step that one of the ways takes, in a process of its own and on one thread, as workers have.

        So each has its own memory, too: what a side leaves in the heap of a shared process speeds up the others.
        """
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        work = (there, way, self._shape[1], self.replicas, len(self._chosen))
        context.Process(target=_serve, args=work, daemon=True).start()
        there.close()

        def step() -> list[float]:
            here.send(None)
            losses: list[float] = here.recv()
            return losses

        return step

    def ours(self) -> Step:
        """Return the step as a worker takes it, from uint8 images.

        The constant of the weighted estimator, which our losses leave out, is added for the comparison.
        """
        models = [self._build(replica).train() for replica in range(self.replicas)]
        replicas = [Replica(one, one.optimizers(), noise) for one, noise in zip(models, self._noise(), strict=True)]
        group = Group(replicas, WorkerContext("", "", self._resolved.name, self._resolved.settings))
        self._open.enter_context(group.training())
        supply, steps, sums = Supervision(), 0, np.zeros(self.replicas)
        constant = (self.BETA - 1) * (self.LATENTS - 1) * math.log(self.IMAGES)

        def step() -> list[float]:
            nonlocal steps, sums
            group.step(supply.batch(self._images, self._chosen, "cpu", self._rng), steps)
            steps, before = steps + 1, sums
            sums = steps * np.array([means["loss"] for means in group.means()])
            return [float(loss) + constant for loss in sums - before]

        return step

    def plain(self) -> Step:
        """Return the step of `benchmarks.peers.plain_vae`."""
        models, noise = self.plain_models(), self._noise()
        parameters = [parameter for model in models for parameter in model.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=self.RATE, foreach=False)
        return lambda: [float(loss) for loss in step_of(models, optimizer, self.floats, self.BETA, self.IMAGES, noise)]

    def pythae(self) -> Step:
        """Return the step of pythae's models; the first noise of the first one is that of the other sides."""
        from benchmarks.peers.pythae_vae import pythae_models, pythae_step

        models = pythae_models(self.plain_models(), self._shape, self.LATENTS, self.BETA)
        optimizers = [torch.optim.Adam(model.parameters(), lr=self.RATE) for model in models]
        state = self._noise()[0].get_state()

        def step() -> list[float]:
            nonlocal state
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(state)
                losses = [float(loss) for loss in pythae_step(models, optimizers, self.floats, self.IMAGES)]
                state = torch.get_rng_state()
            return losses

        return step

    def plain_models(self) -> list[PlainVAE]:
        """Return plain models with the first weights of ours."""
        size = self._shape[1]
        return [
            PlainVAE(size, 1, self.LATENTS).to(self._device).copy_weights(self._build(replica).parameters())
            for replica in range(self.replicas)
        ]

    def _build(self, replica: int) -> Objective:
        resolved = self._resolved
        start = torch.Generator().manual_seed(replica)
        values = resolved.complete({})
        built = build(resolved.name, resolved.settings, values, self._shape, self.IMAGES, generator=start)
        return built.to(self._device)

    def _noise(self) -> list[torch.Generator]:
        return [torch.Generator(self._device).manual_seed(100 + replica) for replica in range(self.replicas)]


def _serve(end: Connection, way: Way, size: int, replicas: int, batch: int) -> None:
    """Take a step whenever told to, and send the losses, until the other end is closed."""
    torch.set_num_threads(1)
    work = TrainingStep(size, replicas, batch)
    step = {"ours": work.ours, "plain": work.plain, "pythae": work.pythae}[way]()
    with contextlib.suppress(EOFError):
        while True:
            end.recv()
            end.send(step())


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread while the context lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
