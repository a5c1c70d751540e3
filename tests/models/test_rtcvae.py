"""RTC-VAE: equals beta-TCVAE without its term, and punishes what posterior noise hides."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pbt_disent.models import Objective
from pbt_disent.models.contract import Batch
from pbt_disent.models.objectives.rtcvae import RTCVAE
from pbt_disent.models.total_correlation import covariance, total_correlation_of_covariance

Make = Callable[..., Objective]
VARIANTS = ["variance", "direct", "ratio"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_eta_it_is_betatcvae(make: Make, images: Tensor, variant: str) -> None:
    plain, other = make("betatcvae"), make("rtcvae", eta=0, variant=variant)
    losses = [m.losses(Batch(images), 0, torch.Generator().manual_seed(2))["model"].loss for m in (plain, other)]
    assert torch.equal(*losses)


@pytest.mark.parametrize("variant", VARIANTS)
def test_eta_weighs_the_rectification(make: Make, images: Tensor, variant: str) -> None:
    parts = []
    for eta in (0, 3):
        objective = make("rtcvae", eta=eta, variant=variant, active_variance=0)
        parts.append(objective.losses(Batch(images), 0, torch.Generator().manual_seed(2))["model"])
    extra = parts[1].terms["rectification"].item()
    assert extra > 0
    assert (parts[1].loss - parts[0].loss).item() == pytest.approx(3 * extra, rel=1e-3, abs=1e-3)


def rectification(make: Make, mean: Tensor, log_sigma: Tensor, variant: str, active: float = 0.01) -> Tensor:
    objective = make("rtcvae", variant=variant, active_variance=active)
    assert isinstance(objective, RTCVAE)
    return objective.rectification(mean, log_sigma)


def test_copied_means_under_noise(make: Make) -> None:
    """Total correlation of the samples stays small, that of the means is huge, and each penalty sees it."""
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(5000, 1, generator=generator)
    copied, apart = one.expand(-1, 2), torch.randn(5000, 2, generator=generator)
    noisy, quiet = torch.zeros(5000, 2), torch.full((5000, 2), -3.0)
    both = torch.tensor([True, True])
    sampled = covariance(copied) + torch.eye(2)
    assert total_correlation_of_covariance(sampled, both).item() < 0.2
    assert rectification(make, copied, noisy, "direct").item() > 3
    assert rectification(make, apart, noisy, "direct").item() < 0.01
    for variant in ("variance", "ratio"):
        noisy_value = rectification(make, copied, noisy, variant).item()
        assert noisy_value > 20 * rectification(make, copied, quiet, variant).item()


def test_hidden_total_correlation_is_bounded() -> None:
    """TC(z) <= 1/2 sum ln(1 + Var mean / noise), whatever the means."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(100):
        root = torch.randn(4, 4, generator=generator, dtype=torch.float64)
        means, noise = root @ root.t(), torch.rand(4, generator=generator, dtype=torch.float64) + 0.01
        total = total_correlation_of_covariance(means + torch.diag(noise), torch.ones(4, dtype=torch.bool), ridge=0)
        assert 0 <= total.item() <= 0.5 * torch.log1p(means.diagonal() / noise).sum().item()


def test_samples_without_noise_are_the_means() -> None:
    """TC(z) tends to TC(mean) as sigma tends to 0, and is below it before."""
    root = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    means, active = root @ root.t(), torch.ones(3, dtype=torch.bool)
    bare = total_correlation_of_covariance(means, active, ridge=0).item()
    eye = torch.eye(3, dtype=torch.float64)
    sampled = [
        total_correlation_of_covariance(means + sigma**2 * eye, active, ridge=0).item() for sigma in (1, 0.1, 1e-6)
    ]
    assert sampled[0] < sampled[1] < bare
    assert sampled[2] == pytest.approx(bare, abs=1e-6)


def test_covariance_of_samples_is_that_of_means_plus_the_variances(make: Make, images: Tensor) -> None:
    """The law of total covariance on an encoder; the difference falls as the root of the number of samples."""
    objective = make("rtcvae").double()
    assert isinstance(objective, RTCVAE)
    with torch.no_grad():
        mean, log_sigma = objective.posterior(images.double())
    expected = covariance(mean) + torch.diag(torch.exp(2 * log_sigma).mean(0))
    generator = torch.Generator().manual_seed(0)
    differences = []
    for copies in (40, 40 * 16**2):
        parts = []
        for _ in range(8):
            noise = torch.randn(copies, *mean.shape, generator=generator, dtype=torch.float64)
            z = (mean + log_sigma.exp() * noise).flatten(0, 1)
            parts.append((covariance(z) - expected).square().mean())
        differences.append(torch.stack(parts).mean().sqrt().item())
    assert differences[1] < 0.01
    assert differences[0] / differences[1] == pytest.approx(16, rel=0.35)


def test_passive_latents_do_not_count(make: Make) -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(100, 1, generator=generator) * torch.tensor([1.0, 1e-3])
    log_sigma = torch.zeros(100, 2)
    assert rectification(make, mean, log_sigma, "direct").item() == pytest.approx(0, abs=1e-6)
    assert rectification(make, mean, log_sigma, "variance").item() == pytest.approx(1)
    assert rectification(make, mean, log_sigma, "variance", active=0).item() == pytest.approx(2)
    expected = math.log1p(1 / mean[:, 0].var(correction=0).item())
    assert rectification(make, mean, log_sigma, "ratio").item() == pytest.approx(expected, rel=1e-5)


def test_ratio_does_not_reward_larger_means(make: Make) -> None:
    mean = torch.randn(100, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    log_sigma = torch.zeros(100, 2, requires_grad=True)
    rectification(make, mean, log_sigma, "ratio").backward()
    assert mean.grad is None
    assert log_sigma.grad is not None


@pytest.mark.parametrize("eta", [1.0, 10.0])
def test_a_passive_latent_settles_where_it_must(make: Make, eta: float) -> None:
    """KL + eta sigma^2 alone is smallest at sigma^2 = 1 / (1 + 2 eta)."""
    objective = make("rtcvae", variant="variance", active_variance=0)
    assert isinstance(objective, RTCVAE)
    log_sigma = torch.zeros(1, 1, requires_grad=True)
    mean = torch.zeros(1, 1)
    for _ in range(150):
        sigma = torch.exp(2 * log_sigma)
        loss = 0.5 * (sigma - 1) - log_sigma + eta * objective.rectification(mean, log_sigma)
        (gradient,) = torch.autograd.grad(loss.sum(), log_sigma)
        log_sigma = (log_sigma - 0.1 * gradient.clamp(-1, 1)).detach().requires_grad_()
    assert log_sigma.exp().square().item() == pytest.approx(1 / (1 + 2 * eta), rel=1e-2)
