"""One training step, and running means of loss terms that cost no synchronisation with the device."""

from __future__ import annotations

import torch
from torch import Tensor

from pbt_disent.models.contract import Batch, LossTerms, Objective
from pbt_disent.training.checkpoint import Optimizers

__all__ = ["TermMeans", "step_once"]


def step_once(
    objective: Objective, optimizers: Optimizers, batch: Batch, step: int, generator: torch.Generator
) -> dict[str, LossTerms]:
    """Take one step of every optimiser on one batch; all gradients are taken before any parameter moves.

    Each optimiser's loss reaches that optimiser's parameters only; optimisers with the same loss share a backward pass.
    The losses of stacked replicas, (k,), are added up: no replica's loss depends on another's parameters.

    Args:
        objective: in training mode.
        optimizers: as from `Objective.optimizers`.
        batch: on the objective's device.
        step: steps taken before, in the member's life.
        generator: of the noise, on the objective's device.
    """
    losses = objective.losses(batch, step, generator)
    for optimizer in optimizers.values():
        optimizer.zero_grad(set_to_none=True)
    groups: dict[int, list[str]] = {}
    for name, terms in losses.items():
        groups.setdefault(id(terms.loss), []).append(name)
    for names in groups.values():
        own = [p for name in names for group in optimizers[name].param_groups for p in group["params"]]
        torch.autograd.backward(losses[names[0]].loss.sum(), retain_graph=len(groups) > 1, inputs=own)
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
        """Take in the losses and terms of one step; the loss of optimiser ``model`` is called ``loss``.

        The sums stay where they are in memory, so that a recorded step finds them again.
        """
        for name, part in losses.items():
            label = "loss" if name == "model" else f"{name}_loss"
            for term, value in {label: part.loss.detach(), **part.terms}.items():
                if term in self._sums:
                    self._sums[term].add_(value)
                else:
                    self._sums[term] = value.to(torch.float64, copy=True)

    def rows(self, steps: int) -> list[dict[str, float]]:
        """Return the means over the steps taken, replica by replica; this waits for the device."""
        columns = {term: (total / steps).reshape(-1).tolist() for term, total in self._sums.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
