"""The replicas of a task while they train: on the same batches, one after the other or stacked into one model."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from pbt_disent.models.acceleration import accelerated
from pbt_disent.models.contract import Batch, Objective, Optimizers
from pbt_disent.models.noise import Generators
from pbt_disent.models.replicas import Stacked
from pbt_disent.training.loop import TermMeans, step_once
from pbt_disent.training.tasks import WorkerContext

__all__ = ["Group", "Replica"]


@dataclass(frozen=True)
class Replica:
    """A model with all that its next step depends on.

    Args:
        objective: in training mode.
        optimizers: of the objective.
        noise: generator of its noise.
    """

    objective: Objective
    optimizers: Optimizers
    noise: torch.Generator


Lanes = Callable[[int], contextlib.AbstractContextManager[object]]


class Group:
    """Trains replicas together. They may be read once `training` is over; until then a stack holds their state.

    Args:
        replicas: of one member, of the same age.
        context: says how they are trained.
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
        self.passes = 0

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Speed the networks up as the context says; afterwards put the state of a stack back into the replicas."""
        context = self._context
        with contextlib.ExitStack() as stack:
            for one in self._trained:
                inner = one.objective.one if isinstance(one.objective, Stacked) else one.objective
                stack.enter_context(accelerated(inner, context.device, bf16=context.bf16, compiled=context.compiled))
            yield
        for one in self._trained:
            if isinstance(one.objective, Stacked):
                one.objective.scatter(one.optimizers, [(each.objective, each.optimizers) for each in self._replicas])

    def step(self, batch: Batch, step: int) -> None:
        """Take one step with every replica (see `step_once`) and count it."""
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

    def compute(self, batch: Batch, step: int, lanes: Lanes = contextlib.nullcontext) -> None:
        """Do what the device does in a step: all that is left to do when the step is replayed.

        Args:
            batch: seen by every replica.
            step: of the member's life.
            lanes: makes, for the index of a replica, a context in which the device may work beside the others.
        """
        for index, (one, means) in enumerate(zip(self._trained, self._means, strict=True)):
            with lanes(index):
                means.add(step_once(one.objective, one.optimizers, batch, step, one.noise))

    def count(self, num_images: int) -> None:
        """Count a step and the images that it shows to each replica, partners too.

        `passes` is the only place where image passes are counted: manifests, budgets and studies add it up.
        """
        self._steps += 1
        self.passes += len(self._replicas) * num_images

    def is_capturable(self, step: int) -> bool:
        """Return whether every step from this one on is the same work for the device (`Objective.is_capturable`)."""
        return all(one.objective.is_capturable(step) for one in self._trained)

    @property
    def generators(self) -> list[torch.Generator]:
        """The generators that the steps draw from."""
        return [replica.noise for replica in self._replicas]

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimisers that the steps move."""
        return [optimizer for one in self._trained for optimizer in one.optimizers.values()]

    def means(self) -> list[dict[str, float]]:
        """Return the means of all loss terms so far, replica by replica; this waits for the device."""
        return [row for means in self._means for row in means.rows(self._steps)] or [{} for _ in self._replicas]

    def finite(self) -> list[bool]:
        """Return for each replica whether its loss terms were finite so far; this waits for the device."""
        return [all(map(math.isfinite, terms.values())) for terms in self.means()]


def _stack(replicas: Sequence[Replica]) -> Replica:
    objective = Stacked([replica.objective for replica in replicas])
    optimizers = objective.optimizers()
    objective.gather(optimizers, [replica.optimizers for replica in replicas])
    return Replica(objective, optimizers, Generators.of([replica.noise for replica in replicas]))
