"""Ada-GVAE: which latents a pair shares, and what sharing does."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pbt_disent.models import Objective
from pbt_disent.models.contract import Batch
from pbt_disent.models.objectives.adagvae import kl_between, share

Make = Callable[..., Objective]


def test_kl_is_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    a, la, b, lb = (torch.randn(5, 3, generator=generator) for _ in range(4))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(a, la.exp()), normal(b, lb.exp()))
    torch.testing.assert_close(kl_between(a, la, b, lb), expected, rtol=1e-4, atol=1e-4)


def test_latents_that_agree_are_averaged() -> None:
    mean = torch.tensor([[0.0, 1.0, 2.0], [0.2, 1.0, -2.0]])
    log_sigma = torch.log(torch.tensor([[1.0, 1.0, 0.5], [3.0, 1.0, 0.5]]))
    joint, log_joint, shared = share(mean, log_sigma)
    assert shared.tolist() == [[True, True, False]]
    torch.testing.assert_close(joint, torch.tensor([[0.1, 1.0, 2.0], [0.1, 1.0, -2.0]]))
    expected = torch.tensor([[math.sqrt(5), 1.0, 0.5], [math.sqrt(5), 1.0, 0.5]])
    torch.testing.assert_close(log_joint.exp(), expected)


def test_the_threshold_is_the_middle_between_smallest_and_largest() -> None:
    """Distances 0, 0, 0.4 and 1 nats: the third lies below the middle, and above the mean."""
    gap = torch.tensor([0.0, 0.0, math.sqrt(0.8), math.sqrt(2)])
    mean, log_sigma = torch.stack([gap, torch.zeros(4)]), torch.zeros(2, 4)
    _, _, shared = share(mean, log_sigma)
    assert shared.tolist() == [[True, True, True, False]]


def test_an_image_paired_with_itself_is_a_betavae(make: Make, images: Tensor) -> None:
    objective, plain = make("adagvae", beta=3), make("betavae", beta=3)
    pair = objective.losses(Batch(images, partner=images), 0, torch.Generator().manual_seed(2))["model"]
    twice = plain.losses(Batch(torch.cat([images, images])), 0, torch.Generator().manual_seed(2))["model"]
    assert pair.loss.item() == pytest.approx(twice.loss.item(), rel=1e-5)


def test_without_partners_it_cannot_train(make: Make, images: Tensor) -> None:
    with pytest.raises(ValueError, match="partner"):
        make("adagvae").losses(Batch(images), 0, torch.Generator())
