"""Stacked replicas take the steps that they would take one after another, for every objective."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pbt_disent.models import OBJECTIVES, Objective
from pbt_disent.models.contract import Batch, Optimizers
from pbt_disent.models.noise import Generators, normal
from pbt_disent.models.replicas import Stacked
from pbt_disent.training.checkpoint import dump, restore
from pbt_disent.training.loop import step_once

Make = Callable[..., Objective]
Replica = tuple[Objective, Optimizers]
K = 3


def replicas(make: Make, name: str, **values: object) -> list[Replica]:
    """Return K replicas with different first weights, in float64, where rounding cannot hide a difference."""
    built = [make(name, seed=seed, **values).double().train() for seed in range(K)]
    return [(objective, objective.optimizers()) for objective in built]


def batch_of(images: Tensor) -> Batch:
    labels = torch.arange(len(images)).remainder(6).unsqueeze(1)
    return Batch(images.double(), labels, labels > 2, images.double().roll(1, 0))


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + index) for index in range(K)]


def stack(members: list[Replica]) -> tuple[Stacked, Optimizers]:
    stacked = Stacked([objective for objective, _ in members]).train()
    own = stacked.optimizers()
    stacked.gather(own, [optimizers for _, optimizers in members])
    return stacked, own


CASES: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name in sorted(OBJECTIVES)),
    ("betatcvae", {"estimator": "mss", "likelihood": "gaussian"}),
    ("rtcvae", {"variant": "ratio", "likelihood": "laplace"}),
    ("ssdgm", {"labels_see_latents": True, "samples": 2}),
    ("strkm", {"autoencoder": "noisy", "network": "rkm"}),
    ("provlae", {"progressive": False}),
    ("vae", {"network": "mlp"}),
]


@pytest.mark.parametrize(("name", "values"), CASES)
def test_stacked_replicas_equal_the_loop(make: Make, images: Tensor, name: str, values: dict[str, object]) -> None:
    """Losses, terms, parameters, buffers and optimiser state after steps, a checkpoint, and steps again."""
    looped, other = replicas(make, name, **values), replicas(make, name, **values)
    assert not looped[0][0].options.stacking_obstacle
    noises = generators()
    own_noises = generators()
    for first in (0, 3):
        stacked, own = stack(other)
        for step in range(first, first + 3):
            batch = batch_of(images[step::6])
            together = step_once(stacked, own, batch, step, Generators.of(own_noises))
            for index, ((objective, optimizers), noise) in enumerate(zip(looped, noises, strict=True)):
                alone = step_once(objective, optimizers, batch, step, noise)
                assert alone.keys() == together.keys()
                for part, seen in alone.items():
                    torch.testing.assert_close(together[part].loss[index], seen.loss, rtol=1e-9, atol=1e-9)
                    assert seen.terms.keys() == together[part].terms.keys()
                    for term, value in seen.terms.items():
                        torch.testing.assert_close(together[part].terms[term][index].to(value), value)
        stacked.scatter(own, other)
        for (one, one_optimizers), (two, two_optimizers) in zip(looped, other, strict=True):
            torch.testing.assert_close(dict(two.state_dict()), dict(one.state_dict()), rtol=1e-7, atol=1e-9)
            for kind, optimizer in one_optimizers.items():
                theirs = two_optimizers[kind].state_dict()["state"]
                torch.testing.assert_close(theirs, optimizer.state_dict()["state"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_checkpoints_of_stacked_replicas_are_the_loops(make: Make, images: Tensor, name: str) -> None:
    """Stacking and unstacking without a step gives the very bytes, and either kind goes on from the other's."""
    members = [(objective.float(), objective.optimizers()) for objective, _ in replicas(make, name)]
    batch = batch_of(images)
    batch = Batch(images, batch.labels, batch.label_mask, images.roll(1, 0))
    for objective, optimizers in members:
        step_once(objective, optimizers, batch, 0, torch.Generator().manual_seed(1))
    before = [dump(objective, optimizers, 1) for objective, optimizers in members]
    fresh = [(objective.float(), objective.optimizers()) for objective, _ in replicas(make, name)]
    for content, (objective, optimizers) in zip(before, fresh, strict=True):
        restore(content, objective, optimizers)
    stacked, own = stack(fresh)
    stacked.scatter(own, fresh)
    assert [dump(objective, optimizers, 1) for objective, optimizers in fresh] == before


def test_a_replica_that_diverges_leaves_the_others_alone(make: Make, images: Tensor) -> None:
    members = replicas(make, "betatcvae")
    with torch.no_grad():
        next(iter(members[1][0].parameters())).fill_(math.nan)
    stacked, own = stack(members)
    for step in range(3):
        losses = step_once(stacked, own, batch_of(images), step, Generators.of(generators()))
        assert torch.isfinite(losses["model"].loss).tolist() == [True, False, True]
    stacked.scatter(own, members)
    finite = [all(bool(torch.isfinite(p).all()) for p in objective.parameters()) for objective, _ in members]
    assert finite == [True, False, True]


def test_replicas_of_different_ages_are_refused(make: Make, images: Tensor) -> None:
    members = replicas(make, "vae")
    for age, (objective, optimizers) in enumerate(members, start=1):
        for step in range(age):
            step_once(objective, optimizers, batch_of(images), step, torch.Generator())
    with pytest.raises(ValueError, match="different numbers of steps"):
        stack(members)


def test_numbers_of_stacked_models_need_a_stack() -> None:
    with pytest.raises(RuntimeError, match="models are stacked"):
        normal((2,), Generators.of(generators()), torch.zeros(2))
