"""Build an objective from its options, with first weights from an explicit random stream."""

from __future__ import annotations

import math

import torch
from torch import nn

from pbt_disent.models.contract import OBJECTIVES, Objective, ObjectiveOptions
from pbt_disent.models.networks import ImageShape
from pbt_disent.types import Hyperparameters

__all__ = ["build", "initialise"]


def build(
    options: ObjectiveOptions,
    hyperparameters: Hyperparameters,
    image_shape: ImageShape,
    dataset_size: int,
    *,
    generator: torch.Generator | None = None,
) -> Objective:
    """Build an objective; torch's global random state is left as it was.

    >>> options = OBJECTIVES.options("betavae")(latents=3).resolve((1, 32, 32))
    >>> model = build(options, options.defaults, (1, 32, 32), 1000, generator=torch.Generator().manual_seed(0))
    >>> tuple(model.eval().represent(torch.zeros(2, 1, 32, 32)).mean.shape)
    (2, 3)

    Args:
        options: The options of the objective, as `ObjectiveOptions.resolve` returns them.
        hyperparameters: One value for each hyperparameter that the objective declares.
        image_shape: The shape (C, H, W) of an image.
        dataset_size: The number of images in the set that is trained on.
        generator: The random stream of the first weights; None where the weights will come from a checkpoint.
    """
    with torch.random.fork_rng(devices=[]):
        objective = OBJECTIVES[options.name](options, hyperparameters, image_shape, dataset_size)
    if generator is not None:
        initialise(objective, generator)
    return objective


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all parameters of a module, in the order of its sub-modules, and reset its buffers.

    Convolutions and linear layers get torch's own distribution: uniform within 1/sqrt(fan-in). Normalisation layers
    start as the identity. A module with parameters of its own must offer ``initialise(generator)``.

    Args:
        module: The module, built on the CPU; it is changed in place.
        generator: A generator on the CPU.

    Raises:
        TypeError: A sub-module owns parameters and none of the above applies.
    """
    for part in module.modules():
        initialiser = getattr(part, "initialise", None)
        if callable(initialiser):
            initialiser(generator)
        elif isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_uniform_(part.weight, a=math.sqrt(5), generator=generator)
            if part.bias is not None:
                fan_in = part.weight[0].numel()
                nn.init.uniform_(part.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.reset_parameters()
        elif next(part.parameters(recurse=False), None) is not None:
            raise TypeError(f"{type(part).__name__} has parameters but no initialise(generator)")
