"""The training loop: shuffled batches, one step of a model, and replicas that train together on the same batches."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pbt_disent.models.acceleration import accelerated
from pbt_disent.models.contract import Batch, LossTerms, Objective, Optimizers
from pbt_disent.models.noise import Generators
from pbt_disent.models.replicas import Stacked
from pbt_disent.training.tasks import WorkerContext
from pbt_disent.types import IntArray

__all__ = ["Replica", "ReplicaGroup", "TermMeans", "batches", "step_once"]


def batches(indices: IntArray | int, batch: int, steps: int, generator: np.random.Generator) -> Iterator[IntArray]:
    """Yield the indices of one batch of images after another.

    Each image comes once per epoch, in a new order each time. A batch may end one epoch and begin the next.

    >>> [batch.shape for batch in batches(10, 4, 3, np.random.default_rng(0))]
    [(4,), (4,), (4,)]

    Args:
        indices: The indices of the N images to draw from, (N,), or the number N for all of them.
        batch: The number of images in a batch, at most N.
        steps: The number of batches.
        generator: The random stream that draws the orders.
    """
    remaining: IntArray = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        while len(remaining) < batch:
            remaining = np.concatenate([remaining, generator.permutation(indices)])
        yield remaining[:batch]
        remaining = remaining[batch:]


def step_once(
    objective: Objective, optimizers: Optimizers, batch: Batch, step: int, generator: torch.Generator
) -> dict[str, LossTerms]:
    """Take one step of every optimiser on one batch; all gradients are taken before any parameter moves.

    Each optimiser's loss reaches that optimiser's parameters only; optimisers with the same loss share a backward pass.
    The losses of stacked replicas, (k,), are added up: no replica's loss depends on another's parameters.

    Args:
        objective: The model, in training mode.
        optimizers: The optimisers, as from `Objective.optimizers`.
        batch: The images, on the objective's device.
        step: The number of steps that the member has taken before, in its life.
        generator: The random stream of the noise, on the objective's device.

    Returns:
        The loss of each optimiser with its terms.
    """
    losses = objective.losses(batch, step, generator)
    for optimizer in optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    groups: dict[int, list[str]] = {}
    for name, terms in losses.items():
        groups.setdefault(id(terms.loss), []).append(name)
    for names in groups.values():
        parameters = [p for name in names for group in optimizers[name].param_groups for p in group["params"]]
        torch.autograd.backward(losses[names[0]].loss.sum(), retain_graph=len(groups) > 1, inputs=parameters)
    for name in losses:
        optimizers[name].step()
    return losses


class TermMeans:
    """Running means of loss terms, kept on the device until they are asked for; one row for each replica.

    The terms of one model are scalars, those of k stacked ones have the shape (k,).
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, losses: dict[str, LossTerms]) -> None:
        """Add the losses and terms of one step; the loss of optimiser ``model`` is called ``loss``.

        The sums stay where they are in memory, so that a CUDA graph finds them again.
        """
        for name, part in losses.items():
            label = "loss" if name == "model" else f"{name}_loss"
            for term, value in {label: part.loss.detach(), **part.terms}.items():
                if term in self._sums:
                    self._sums[term].add_(value)
                else:
                    self._sums[term] = value.to(torch.float64, copy=True)

    def rows(self, steps: int) -> list[dict[str, float]]:
        """Return the means over this number of steps, replica by replica; this waits for the device."""
        columns = {term: (total / steps).reshape(-1).tolist() for term, total in self._sums.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@dataclass(frozen=True)
class Replica:
    """A model with all that its next step depends on.

    Args:
        objective: The model, in training mode.
        optimizers: The optimisers of the model, by name.
        noise: The random stream of its noise.
    """

    objective: Objective
    optimizers: Optimizers
    noise: torch.Generator


StreamOf = Callable[[int], contextlib.AbstractContextManager[object]]
"""Returns, for the index of a replica, a context in which the device may work on it beside the others."""


class ReplicaGroup:
    """Trains the replicas of a task on the same batches, one after the other or stacked into one model.

    They may be read once `training` is over; until then a stack holds their state.

    Args:
        replicas: The replicas of one member, which have taken equally many steps.
        context: The context of the run, which says how they are trained.
    """

    def __init__(self, replicas: Sequence[Replica], context: WorkerContext) -> None:
        self._replicas = replicas
        self._context = context
        self._stacked = context.stacked and len(replicas) > 1
        self._trained = [_stack(replicas)] if self._stacked else list(replicas)
        self._means = [TermMeans() for _ in self._trained]
        self._schedule = replicas[0].objective.options.lr_schedule
        self._rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self._steps = 0
        self.image_passes = 0

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Speed the networks up as the context says; afterwards put the state of a stack back into the replicas."""
        context = self._context
        with contextlib.ExitStack() as stack:
            for replica in self._trained:
                model = replica.objective.template if isinstance(replica.objective, Stacked) else replica.objective
                stack.enter_context(accelerated(model, context.device, bf16=context.bf16, compiled=context.compiled))
            yield
        for trained in self._trained:
            if isinstance(trained.objective, Stacked):
                trained.objective.scatter(trained.optimizers, [(r.objective, r.optimizers) for r in self._replicas])

    def step(self, batch: Batch, step: int) -> None:
        """Take one step with every replica (see `step_once`) and count it.

        Args:
            batch: The images, which every replica is trained on.
            step: The number of steps that the member has taken before, in its life.
        """
        self.set_learning_rates(step)
        self.compute(batch, step)
        self.count(batch.num_images)

    @property
    def has_constant_rates(self) -> bool:
        """Whether the learning rates never change."""
        return bool(self._schedule.is_constant)

    def set_learning_rates(self, step: int) -> None:
        """Set the learning rates for a step of the member's life; a rate that is a tensor is changed in place."""
        if self.has_constant_rates:
            return
        factor = self._schedule.factor(step)
        for optimizer, rates in zip(self.optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                if isinstance(group["lr"], torch.Tensor):
                    group["lr"].fill_(rate * factor)
                else:
                    group["lr"] = rate * factor

    def compute(self, batch: Batch, step: int, stream_of: StreamOf = contextlib.nullcontext) -> None:
        """Do the work of the device in a step, which is all that a CUDA graph replays.

        Args:
            batch: The images, which every replica is trained on.
            step: The number of steps that the member has taken before, in its life.
            stream_of: Returns the context in which the device works on a replica.
        """
        for index, (replica, means) in enumerate(zip(self._trained, self._means, strict=True)):
            with stream_of(index):
                means.add(step_once(replica.objective, replica.optimizers, batch, step, replica.noise))

    def count(self, num_images: int) -> None:
        """Count a step and the images that it shows to each replica, partners too.

        This is the only place where image passes are counted: manifests, budgets and studies add up `image_passes`.
        """
        self._steps += 1
        self.image_passes += len(self._replicas) * num_images

    def is_capturable(self, step: int) -> bool:
        """Return whether every step from this one on is the same work for the device (`Objective.is_capturable`)."""
        return all(replica.objective.is_capturable(step) for replica in self._trained)

    @property
    def generators(self) -> list[torch.Generator]:
        """The generators that the steps draw from."""
        return [replica.noise for replica in self._replicas]

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimisers that the steps move."""
        return [optimizer for replica in self._trained for optimizer in replica.optimizers.values()]

    def loss_means(self) -> list[dict[str, float]]:
        """Return the means of all loss terms so far, replica by replica; this waits for the device."""
        return [row for means in self._means for row in means.rows(self._steps)] or [{} for _ in self._replicas]

    def has_finite_losses(self) -> list[bool]:
        """Return for each replica whether its loss terms were finite so far; this waits for the device."""
        return [all(map(math.isfinite, terms.values())) for terms in self.loss_means()]


def _stack(replicas: Sequence[Replica]) -> Replica:
    objective = Stacked([replica.objective for replica in replicas])
    optimizers = objective.optimizers()
    objective.gather(optimizers, [replica.optimizers for replica in replicas])
    return Replica(objective, optimizers, Generators.of([replica.noise for replica in replicas]))
