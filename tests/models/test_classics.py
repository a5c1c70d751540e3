"""The published formulas of the classic objectives, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pbt_disent.models import Objective
from pbt_disent.models.contract import Batch, LossTerms
from pbt_disent.models.likelihoods import LIKELIHOODS
from pbt_disent.models.objectives.annealed import AnnealedVAE
from pbt_disent.models.objectives.factorvae import FactorVAE, shuffle_latents
from pbt_disent.models.total_correlation import covariance, moment_penalty, total_correlation_of_covariance
from pbt_disent.training.loop import step_once

Make = Callable[..., Objective]
FACTOR = {"discriminator_width": 16, "discriminator_layers": 2}


def part_of(objective: Objective, images: Tensor, step: int = 0) -> LossTerms:
    return objective.losses(Batch(images), step, torch.Generator().manual_seed(5))["model"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("betavae", {"beta": 1}),
        ("dipvae1", {"lambda_od": 0}),
        ("dipvae2", {"lambda_od": 0}),
        ("factorvae", {"gamma": 0, **FACTOR}),
        ("annealed", {"gamma": 1}),
    ],
)
def test_without_its_term_each_is_the_vae(make: Make, images: Tensor, name: str, values: dict[str, float]) -> None:
    plain, other = make("vae"), make(name, **values)
    other.load_state_dict(plain.state_dict(), strict=False)
    expected = part_of(plain, images)
    assert part_of(other, images).loss.item() == pytest.approx(expected.loss.item(), rel=1e-6)
    assert expected.loss.item() == pytest.approx(-expected.terms["elbo"].item(), rel=1e-6)


def test_beta_weighs_the_kl(make: Make, images: Tensor) -> None:
    part = part_of(make("betavae", beta=9), images)
    assert part.loss.item() == pytest.approx((part.terms["reconstruction"] + 9 * part.terms["kl"]).item(), rel=1e-6)


def test_capacity_grows_linearly_and_stops(make: Make, images: Tensor) -> None:
    objective = make("annealed", capacity=20, gamma=10, annealing_steps=400)
    assert isinstance(objective, AnnealedVAE)
    assert [objective.capacity(step) for step in (0, 100, 400, 9000)] == [0, 5, 20, 20]
    part = part_of(objective, images, step=100)
    expected = part.terms["reconstruction"] + 10 * (part.terms["kl"] - 5).abs()
    assert part.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_covariance_is_numpys() -> None:
    codes = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    np.testing.assert_allclose(covariance(codes), np.cov(codes.numpy().T, bias=True))


def test_moment_penalty_by_hand() -> None:
    matrix = torch.tensor([[2.0, 0.5], [0.5, 0.0]])
    assert moment_penalty(matrix, 3.0, 7.0).item() == pytest.approx(3 * 0.5 + 7 * 2)


def test_second_dip_adds_the_posterior_variance(make: Make, images: Tensor) -> None:
    one, two = make("dipvae1", lambda_od=2, diagonal_ratio=1), make("dipvae2", lambda_od=2)
    two.load_state_dict(one.state_dict())
    mean, log_sigma = one.posterior(images)
    matrix = covariance(mean)
    expected = [moment_penalty(m, 2, 2) for m in (matrix, matrix + torch.diag(torch.exp(2 * log_sigma).mean(0)))]
    found = [part_of(objective, images).terms["moments"] for objective in (one, two)]
    torch.testing.assert_close(found, [value.detach() for value in expected])
    assert make("dipvae1").options.diagonal_ratio == 10


def test_shuffling_keeps_marginals_and_breaks_dependence() -> None:
    z = torch.arange(2000.0).unsqueeze(1).expand(-1, 2) * torch.tensor([1.0, -1.0])
    shuffled = shuffle_latents(z, torch.Generator().manual_seed(0))
    assert torch.equal(shuffled.sort(0).values, z.sort(0).values)
    assert abs(np.corrcoef(shuffled.numpy().T)[0, 1]) < 0.1


def test_losses_of_factorvae_by_hand(make: Make, images: Tensor) -> None:
    """Total correlation is the mean log odds that codes are real; the discriminator tells real from shuffled ones."""
    objective = make("factorvae", gamma=10, **FACTOR)
    assert isinstance(objective, FactorVAE)
    with torch.no_grad():
        objective.discriminator[-1].weight.mul_(20)
    losses = objective.losses(Batch(images), 0, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    forward_pass = objective.run(images, generator)
    real = objective.discriminator(forward_pass.z).softmax(1)
    shuffled = objective.discriminator(shuffle_latents(forward_pass.z, generator)).softmax(1)
    odds = (real[:, 0] / real[:, 1]).log().mean()
    assert abs(odds.item()) > 0.05
    expected = forward_pass.reconstruction + forward_pass.kl.sum() + 10 * odds
    assert losses["model"].loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert losses["model"].terms["total_correlation"].item() == pytest.approx(odds.item(), rel=1e-4)
    told = -0.5 * (real[:, 0].log().mean() + shuffled[:, 1].log().mean())
    assert losses["discriminator"].loss.item() == pytest.approx(told.item(), rel=1e-5)
    betas = {name: optimizer.param_groups[0]["betas"] for name, optimizer in objective.optimizers().items()}
    assert betas == {"model": (0.9, 0.999), "discriminator": (0.5, 0.9)}


def test_discriminator_and_model_do_not_touch_each_other(make: Make, images: Tensor) -> None:
    """Each loss moves its own parameters alone: the step of one is the same whatever the other's loss."""
    seen = []
    for gamma, rate in ((1, 1e-3), (1, 1e-6), (100, 1e-3)):
        objective = make("factorvae", gamma=gamma, discriminator_lr=rate, **FACTOR)
        assert isinstance(objective, FactorVAE)
        step_once(objective, objective.optimizers(), Batch(images), 0, torch.Generator().manual_seed(5))
        parts = (objective.encoder, objective.decoder, objective.discriminator)
        seen.append([torch.cat([p.detach().flatten() for p in part.parameters()]) for part in parts])
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    assert not torch.equal(seen[0][2], seen[1][2])
    assert torch.equal(seen[0][2], seen[2][2])
    assert not torch.equal(seen[0][0], seen[2][0])


def test_discriminator_finds_dependence(make: Make) -> None:
    """On codes that are copies of each other the estimate becomes clearly positive, on independent ones it does not."""
    generator = torch.Generator().manual_seed(0)
    estimates = []
    for copies in (True, False):
        objective = make("factorvae", latents=2, discriminator_width=32, discriminator_layers=2)
        assert isinstance(objective, FactorVAE)
        optimizer = torch.optim.Adam(objective.discriminator.parameters(), 1e-2)
        for _ in range(150):
            z = torch.randn(256, 2, generator=generator)
            if copies:
                z = z[:, :1].expand(-1, 2) + 0.1 * z
            real, fake = objective.discriminator(z), objective.discriminator(shuffle_latents(z, generator))
            zeros = torch.zeros(256, dtype=torch.long)
            loss = torch.nn.functional.cross_entropy(real, zeros) + torch.nn.functional.cross_entropy(fake, 1 - zeros)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        estimates.append((real[:, 0] - real[:, 1]).mean().item())
    assert estimates[0] > 0.8
    assert abs(estimates[1]) < 0.3


def test_gaussian_total_correlation_by_hand() -> None:
    active = torch.tensor([True, True])
    for rho in (0.0, 0.5, -0.9):
        matrix = torch.tensor([[4.0, 2 * 3 * rho], [2 * 3 * rho, 9.0]], dtype=torch.float64)
        expected = -0.5 * math.log(1 - rho**2)
        assert total_correlation_of_covariance(matrix, active, ridge=0).item() == pytest.approx(expected, abs=1e-12)
    singular = torch.ones(2, 2, dtype=torch.float64)
    assert 3 < total_correlation_of_covariance(singular, active).item() < 10
    assert total_correlation_of_covariance(singular, torch.tensor([True, False])).item() == 0
    constant = torch.diag(torch.tensor([1.0, 0.0]))
    assert total_correlation_of_covariance(constant, active).item() == 0


def test_gaussian_total_correlation_adds_over_blocks_and_ignores_scale_and_order() -> None:
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    matrix = torch.block_diag(root[:2, :2] @ root[:2, :2].t(), root[2:, 2:] @ root[2:, 2:].t())
    active = torch.ones(5, dtype=torch.bool)
    total = total_correlation_of_covariance(matrix, active, ridge=0)
    blocks = [total_correlation_of_covariance(b, active[: len(b)], ridge=0) for b in (matrix[:2, :2], matrix[2:, 2:])]
    torch.testing.assert_close(total, sum(blocks))
    scale, order = torch.tensor([1.0, 2.0, 0.1, 5.0, 3.0], dtype=torch.float64), torch.tensor([3, 0, 4, 1, 2])
    moved = (matrix * scale * scale.unsqueeze(1))[order][:, order]
    torch.testing.assert_close(total_correlation_of_covariance(moved, active, ridge=0), total)


def test_likelihoods_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, images = torch.randn(3, 1, 4, 4, generator=generator), torch.rand(3, 1, 4, 4, generator=generator)
    mean = torch.sigmoid(logits)
    kinds = {
        "gaussian": torch.distributions.Normal(mean, 1.0),
        "laplace": torch.distributions.Laplace(mean, 1.0),
        "bernoulli": torch.distributions.Bernoulli(mean, validate_args=False),
    }
    for name, distribution in kinds.items():
        expected = -distribution.log_prob(images).sum() / 3
        torch.testing.assert_close(LIKELIHOODS[name]().loss(logits, images), expected)
