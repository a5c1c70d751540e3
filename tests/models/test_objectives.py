"""What holds for every objective in the registry; a new file there is tested by being there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pbt_disent.models import OBJECTIVES, LatentModel, Objective
from pbt_disent.models.contract import Batch
from pbt_disent.training.loop import TermMeans, step_once

Make = Callable[..., Objective]
NAMES = sorted(OBJECTIVES)
FAST = {"lr": 4e-3, "batch_size": 24}


def partnered(images: Tensor) -> Batch:
    """Return a batch with everything that some objective may need."""
    labels = torch.arange(len(images)).remainder(6).unsqueeze(1)
    known = torch.arange(len(images)).remainder(2).eq(0).unsqueeze(1)
    return Batch(images, labels, known, images.roll(1, 0))


def loss_of(objective: Objective, images: Tensor) -> float:
    """Return the losses of an early and a late step, added up."""
    total = 0.0
    for step in (50, 6000):
        parts = objective.losses(partnered(images), step, torch.Generator().manual_seed(3))
        total += sum(part.loss.item() for part in parts.values())
    return total


@pytest.mark.parametrize("name", NAMES)
def test_declarations_are_complete(name: str) -> None:
    component = OBJECTIVES.options(name)
    options = component()
    assert {"lr", "batch_size"} <= set(options.hyperparameters)
    assert options.hyperparameters["lr"].log
    assert options.hyperparameters["batch_size"].integer
    assert options.hyperparameters["batch_size"].low >= 16
    assert {"latents", "network", "lr_schedule"} <= set(options.settings)
    assert "width" in options.settings["network"]
    assert set(options.settings) | set(options.hyperparameters) == set(component.model_fields)
    assert not set(options.settings) & set(options.hyperparameters)
    assert all(field.description for field in component.model_fields.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls(make: Make, images: Tensor, name: str) -> None:
    objective = make(name, **FAST).train()
    optimizers = objective.optimizers()
    generator = torch.Generator().manual_seed(0)
    losses = []
    for step in range(60):
        parts = step_once(objective, optimizers, partnered(images), step, generator)
        assert all(torch.isfinite(value) for part in parts.values() for value in part.terms.values())
        losses.append(parts["model"].terms["reconstruction"].item())
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


@pytest.mark.parametrize("name", NAMES)
def test_each_hyperparameter_counts(make: Make, images: Tensor, name: str) -> None:
    """Rates change the optimiser's step, everything else the loss."""
    objective = make(name, **FAST)
    start = loss_of(objective, images)
    rates = sorted(group["lr"] for part in objective.optimizers().values() for group in part.param_groups)
    for key, declared in OBJECTIVES.options(name)().hyperparameters.items():
        if key == "batch_size":
            continue
        changed = make(name, **{**FAST, key: declared.from_unit(0.9)})
        if key.endswith("lr"):
            other = sorted(group["lr"] for part in changed.optimizers().values() for group in part.param_groups)
            assert other != rates, key
        else:
            assert loss_of(changed, images) != start, key


@pytest.mark.parametrize("name", NAMES)
def test_optimizers_share_nothing_and_leave_nothing_out(make: Make, images: Tensor, name: str) -> None:
    objective = make(name)
    owned = [id(p) for part in objective.optimizers().values() for group in part.param_groups for p in group["params"]]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(p) for p in objective.parameters()}
    assert set(objective.optimizers()) == set(objective.losses(partnered(images), 0, torch.Generator()))


@pytest.mark.parametrize("name", NAMES)
def test_losses_depend_on_the_given_generator_alone(make: Make, images: Tensor, name: str) -> None:
    torch.manual_seed(1)
    one = loss_of(make(name), images)
    torch.manual_seed(2)
    assert loss_of(make(name), images) == one


@pytest.mark.parametrize("name", NAMES)
def test_representation_and_decoder_fit_together(make: Make, images: Tensor, name: str) -> None:
    model = LatentModel(make(name))
    seen = model.posterior(images.numpy())
    latents = model.objective.options.latents
    assert seen.codes.shape == (len(images), latents)
    assert seen.information.shape == (latents,)
    assert (seen.information >= 0).all()
    assert np.isfinite(seen.codes).all()
    frames = model.decode(seen.codes)
    assert frames.shape == images.shape
    assert frames.min() >= 0
    assert frames.max() <= 1
    for index in (0, 11):
        alone = model.encode(images[index : index + 1].numpy())
        np.testing.assert_allclose(alone[0], seen.codes[index], atol=1e-6)


class Scalars(TorchDispatchMode):
    """Counts how often a tensor's value is asked for, which on a GPU waits for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.asked += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "values"), [*((name, {}) for name in NAMES), ("provlae", {"growth": "plateau"})])
def test_a_step_never_waits_for_a_value(make: Make, images: Tensor, name: str, values: dict[str, Any]) -> None:
    """Loss terms are summed on the device, where a value that is not finite stays: one look at the sums finds it."""
    objective = make(name, **FAST, **values).train()
    optimizers, means, generator = objective.optimizers(), TermMeans(), torch.Generator().manual_seed(0)
    means.add(step_once(objective, optimizers, partnered(images), 0, generator))
    with Scalars() as scalars:
        for step in range(1, 4):
            means.add(step_once(objective, optimizers, partnered(images), step, generator))
        assert scalars.asked == 0
        assert torch.isfinite(torch.tensor(list(means.rows(4)[0].values()))).all()
        with torch.no_grad():
            next(objective.parameters()).fill_(math.nan)
        means.add(step_once(objective, optimizers, partnered(images), 4, generator))
        objective.load_state_dict(make(name, **FAST, **values).state_dict())
        means.add(step_once(objective, optimizers, partnered(images), 5, generator))
        assert not all(map(math.isfinite, means.rows(6)[0].values()))
