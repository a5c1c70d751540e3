"""Training steps of k beta-TCVAEs, ours and others, all from the same weights, noise and images."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from benchmarks.baselines.vae import PlainVAE, pythae_models, pythae_step, train_step
from pbt_disent.data import load
from pbt_disent.models.build import build
from pbt_disent.models.contract import Objective, ObjectiveOptions, load_options
from pbt_disent.training.gpu import DeviceImages, graphed_steps
from pbt_disent.training.loop import Replica, ReplicaGroup, batches
from pbt_disent.training.supervision import Supervision
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.types import IntArray

__all__ = ["GpuTrainingSteps", "TrainingSteps", "build_beta_tcvae", "one_thread"]

Step = Callable[[], list[float]]
"""Takes a further step and returns the loss of each replica."""
Steps = Callable[[int], list[float]]
"""Takes a number of steps, waits for the GPU, and returns the mean loss of each replica over them."""
Implementation = Literal["ours", "plain", "pythae"]


def build_beta_tcvae(
    shape: tuple[int, int, int], *, dataset_size: int, seed: int = 0, **options: float
) -> tuple[ObjectiveOptions, Objective]:
    """Return the options of a beta-TCVAE and a model with them, by default for batches of 64 with beta = 6.

    Args:
        shape: The shape of the images, (C, H, W).
        dataset_size: The number of images.
        seed: The seed of the weights.
        **options: Options of the objective in place of the default ones.
    """
    values = {"batch_size": 64, "lr": 1e-3, "beta": 6.0, **options}
    resolved = load_options("betatcvae", values).resolve(shape)
    weights = torch.Generator().manual_seed(seed)
    return resolved, build(resolved, resolved.fixed, shape, dataset_size, generator=weights)


class TrainingSteps:
    """Training steps on one batch; each method returns a function that takes a further step.

    Args:
        size: The size of the images, 64 or 32.
        replicas: The number of models, k.
        batch: The number of images in the batch, B.
        device: The device, ``cpu`` or ``cuda``.

    Attributes:
        floats: The batch in 0 to 1, a tensor of shape (B, 1, H, W).
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
        self._batch = self._rng.permutation(len(self._images))[:batch]
        self.floats = torch.from_numpy(self._images[self._batch]).float() / 255
        self._options: dict[str, Any] = {
            "batch_size": batch,
            "lr": self.RATE,
            "beta": self.BETA,
            "latents": self.LATENTS,
        }
        self._contexts = contextlib.ExitStack()

    def in_own_process(self, implementation: Implementation) -> Step:
        """Return the step of an implementation in a process of its own and on one thread, as workers have.

        So each has its own memory, too: what one leaves in the heap of a shared process speeds up the others.
        """
        context = multiprocessing.get_context("spawn")
        parent, child = context.Pipe()
        arguments = (child, implementation, self._shape[1], self.replicas, len(self._batch))
        context.Process(target=_serve_steps, args=arguments, daemon=True).start()
        child.close()

        def step() -> list[float]:
            parent.send(None)
            losses: list[float] = parent.recv()
            return losses

        return step

    def ours(self) -> Step:
        """Return the step as a worker takes it, from uint8 images.

        The constant of the weighted estimator, which our losses leave out, is added for the comparison.
        """
        models = [self._build(replica).train() for replica in range(self.replicas)]
        replicas = [
            Replica(model, model.optimizers(), noise) for model, noise in zip(models, self._noise(), strict=True)
        ]
        group = ReplicaGroup(replicas, WorkerContext("", ""))
        self._contexts.enter_context(group.training())
        supervision, steps, sums = Supervision(), 0, np.zeros(self.replicas)
        constant = (self.BETA - 1) * (self.LATENTS - 1) * math.log(self.IMAGES)

        def step() -> list[float]:
            nonlocal steps, sums
            group.step(supervision.batch(self._images, self._batch, "cpu", self._rng), steps)
            steps, before = steps + 1, sums
            sums = steps * np.array([means["loss"] for means in group.loss_means()])
            return [float(loss) + constant for loss in sums - before]

        return step

    def plain(self) -> Step:
        """Return the step of `benchmarks.baselines.vae`."""
        models, noise = self.plain_models(), self._noise()
        parameters = [parameter for model in models for parameter in model.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=self.RATE, foreach=False)
        return lambda: [
            float(loss) for loss in train_step(models, optimizer, self.floats, self.BETA, self.IMAGES, noise)
        ]

    def pythae(self) -> Step:
        """Return the step of pythae's models; the first noise of the first one is that of the other implementations."""
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
        """Return plain models with the same initial weights as ours."""
        size = self._shape[1]
        return [
            PlainVAE(size, 1, self.LATENTS).to(self._device).copy_weights(self._build(replica).parameters())
            for replica in range(self.replicas)
        ]

    def _build(self, replica: int) -> Objective:
        _, objective = build_beta_tcvae(self._shape, dataset_size=self.IMAGES, seed=replica, **self._options)
        return objective.to(self._device)

    def _noise(self) -> list[torch.Generator]:
        return [torch.Generator(self._device).manual_seed(100 + replica) for replica in range(self.replicas)]


def _serve_steps(connection: Connection, implementation: Implementation, size: int, replicas: int, batch: int) -> None:
    """Take a step at each message, and send the losses, until the other end is closed."""
    torch.set_num_threads(1)
    steps = TrainingSteps(size, replicas, batch)
    step = {"ours": steps.ours, "plain": steps.plain, "pythae": steps.pythae}[implementation]()
    with contextlib.suppress(EOFError):
        while True:
            connection.recv()
            connection.send(step())


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class GpuTrainingSteps(TrainingSteps):
    """Training steps on a GPU; each method returns a function that takes further steps on shuffled batches.

    Args:
        size: The size of the images, 64 or 32.
        replicas: The number of models, k.
        batch: The number of images in a batch, B.
    """

    def __init__(self, size: int, replicas: int, batch: int) -> None:
        super().__init__(size, replicas, batch, device="cuda")

    def as_workers(self, *, stacked: bool = False, bf16: bool = False) -> Steps:
        """Return the steps as workers take them: images on the GPU, steps captured, replicas side by side or stacked.

        A step is captured as a CUDA graph anew at every call, as it is in every task.
        """
        noise = self._noise()
        models = [self._build(replica).train() for replica in range(self.replicas)]
        replicas = [Replica(model, model.optimizers(), noise[index]) for index, model in enumerate(models)]
        context = WorkerContext("", "", device="cuda", stacked=stacked, bf16=bf16)
        device_images, order, done = DeviceImages.load(self._images, "cuda"), np.random.default_rng(0), 0
        assert device_images is not None

        def take_steps(steps: int) -> list[float]:
            nonlocal done
            group = ReplicaGroup(replicas, context)
            device_batches = device_images.batches(Supervision(), self._order(steps, order), order)
            with group.training(), graphed_steps(group, device_batches, done, steps) as take_step:
                for step in range(steps):
                    take_step(step)
            done += steps
            torch.cuda.synchronize()
            return [means["loss"] for means in group.loss_means()]

        return take_steps

    def plain_loop(self) -> Steps:
        """Return the plain loop: float32 images on the host, one replica after another, every kernel launched alone."""
        models, noise = self.plain_models(), self._noise()
        optimizer = torch.optim.Adam([p for model in models for p in model.parameters()], lr=self.RATE, foreach=False)
        floats, order = torch.from_numpy(self._images).float() / 255, np.random.default_rng(0)
        constant = (self.BETA - 1) * (self.LATENTS - 1) * np.log(self.IMAGES)

        def take_steps(steps: int) -> list[float]:
            sums = torch.zeros(self.replicas, device="cuda")
            for indices in self._order(steps, order):
                images = floats[torch.from_numpy(indices)].to("cuda")
                sums += torch.stack(train_step(models, optimizer, images, self.BETA, self.IMAGES, noise))
            torch.cuda.synchronize()
            return [float(total) / steps - constant for total in sums]

        return take_steps

    def _order(self, steps: int, generator: np.random.Generator) -> Iterator[IntArray]:
        return batches(len(self._images), len(self._batch), steps, generator)

    def side_by_side(self, workers: int, steps: int) -> float:
        """Return the seconds that some processes on one GPU take for a number of steps each, all at the same time."""
        context = multiprocessing.get_context("spawn")
        connections: list[Connection] = []
        for _ in range(workers):
            parent, child = context.Pipe()
            arguments = (child, self._shape[1], self.replicas, len(self._batch), steps)
            context.Process(target=_warm_up_and_train, args=arguments, daemon=True).start()
            connections.append(parent)
        for connection in connections:
            connection.recv()
        start = time.perf_counter()
        for connection in connections:
            connection.send(None)
        for connection in connections:
            connection.recv()
        return time.perf_counter() - start


def _warm_up_and_train(connection: Connection, size: int, replicas: int, batch: int, steps: int) -> None:
    """Take the steps once, send a message, and take them again at the answer."""
    take_steps = GpuTrainingSteps(size, replicas, batch).as_workers()
    take_steps(steps)
    connection.send(None)
    connection.recv()
    connection.send(take_steps(steps))
