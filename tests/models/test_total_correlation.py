"""The decomposition of the KL: telescoping, known values on independent Gaussians, the stratified matrix."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pbt_disent.models import total_correlation
from pbt_disent.models.gaussian_vae import log_normal, log_prior
from pbt_disent.models.total_correlation import ESTIMATORS, decompose, stratified_log_weights

N = 480_000


def draw(sigma: float, batch: int, latents: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return samples, means and log sigmas of a posterior whose aggregate is N(0, I): true total correlation 0."""
    generator = torch.Generator().manual_seed(seed)
    mean = math.sqrt(1 - sigma**2) * torch.randn(batch, latents, generator=generator, dtype=torch.float64)
    log_sigma = torch.full_like(mean, math.log(sigma))
    z = mean + sigma * torch.randn(batch, latents, generator=generator, dtype=torch.float64)
    return z, mean, log_sigma


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_parts_sum_to_the_sampled_kl(estimator: str) -> None:
    z, mean, log_sigma = draw(0.4, 32, 5, seed=1)
    parts = decompose(z, mean, log_sigma, 1000, estimator)
    total = parts.mutual_information + parts.total_correlation + parts.dimension_kl
    kl = (log_normal(z, mean, log_sigma) - log_prior(z)).sum(1).mean()
    torch.testing.assert_close(total, kl, rtol=1e-12, atol=1e-12)
    shifted = parts.without_offset(3.0, latents=5)
    again = shifted.mutual_information + shifted.total_correlation + shifted.dimension_kl
    torch.testing.assert_close(again, kl, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("sigma", "batch", "mws", "plain", "mss"),
    [
        (0.9, 64, 117.7, 0.05, -0.04),
        (0.5, 64, 120.5, 2.8, -2.3),
        (0.5, 1024, 118.8, 1.1, -0.7),
        (0.2, 64, 128.9, 11.5, 3.8),
        (0.2, 1024, 126.8, 9.2, 3.0),
    ],
)
def test_bias_on_independent_gaussians(sigma: float, batch: int, mws: float, plain: float, mss: float) -> None:
    """Ten latents, true total correlation 0, N = 480,000."""
    values = []
    for seed in range(200 if batch == 64 else 1):
        z, mean, log_sigma = draw(sigma, batch, 10, seed)
        weighted = decompose(z, mean, log_sigma, N, "mws")
        stratified = decompose(z, mean, log_sigma, N, "mss")
        values.append(
            [
                weighted.total_correlation,
                weighted.without_offset(math.log(N), 10).total_correlation,
                stratified.total_correlation,
            ]
        )
    means = torch.tensor(values).mean(0).tolist()
    assert means == pytest.approx([mws, plain, mss], abs=0.25)


@pytest.mark.parametrize(("batch", "size"), [(2, 2), (5, 5), (5, 100), (64, 480_000)])
def test_stratified_rows_sum_to_one(batch: int, size: int) -> None:
    weights = stratified_log_weights(batch, size, torch.zeros((), dtype=torch.float64)).exp()
    torch.testing.assert_close(weights.sum(1), torch.ones(batch, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(weights.diagonal(), torch.full((batch,), 1 / size, dtype=torch.float64))


def test_stratified_matrix_by_hand() -> None:
    weights = stratified_log_weights(3, 10, torch.zeros((), dtype=torch.float64)).exp()
    special, rest = (10 - 2) / (10 * 2), 1 / 2
    expected = [[0.1, special, rest], [rest, 0.1, special], [special, rest, 0.1]]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))


def test_weighted_estimate_by_hand() -> None:
    """Two images, one latent: every log density written out."""
    z, mean = torch.tensor([[0.5], [-1.0]]), torch.tensor([[0.0], [-1.0]])
    log_sigma = torch.tensor([[0.0], [math.log(2.0)]])

    def density(value: float, centre: float, sigma: float) -> float:
        return math.exp(-0.5 * ((value - centre) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))

    own = [density(0.5, 0, 1), density(-1, -1, 2)]
    aggregate = [(density(v, 0, 1) + density(v, -1, 2)) / (2 * 50) for v in (0.5, -1.0)]
    parts = decompose(z, mean, log_sigma, 50, "mws")
    expected = sum(math.log(a / b) for a, b in zip(own, aggregate, strict=True)) / 2
    assert parts.mutual_information.item() == pytest.approx(expected, rel=1e-5)
    assert parts.total_correlation.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("ratio", [0.5, 3.0])
def test_mutual_information_of_a_gaussian_channel(ratio: float) -> None:
    """1/2 ln(1 + SNR), within 2 %, from the part that the decomposition calls mutual information."""
    generator = torch.Generator().manual_seed(0)
    mean = math.sqrt(ratio) * torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    z = mean + torch.randn(4000, 1, generator=generator, dtype=torch.float64)
    parts = decompose(z, mean, torch.zeros_like(mean), N, "mws").without_offset(math.log(N), 1)
    assert parts.mutual_information.item() == pytest.approx(0.5 * math.log1p(ratio), rel=0.02)


def penalties(z: Tensor, mean: Tensor, log_sigma: Tensor, estimator: str) -> Tensor:
    parts = decompose(z, mean, log_sigma, 1000, estimator)
    return parts.mutual_information + 5 * parts.total_correlation + 2 * parts.dimension_kl


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("sigma", [0.9, 0.2, 0.003])
def test_gradients_by_hand_are_those_of_automatic_differentiation(
    monkeypatch: pytest.MonkeyPatch, estimator: str, sigma: float
) -> None:
    inputs = [tensor.requires_grad_() for tensor in draw(sigma, 24, 4, seed=2)]
    by_hand = penalties(*inputs, estimator)
    gradients = torch.autograd.grad(by_hand, inputs)
    monkeypatch.setattr(total_correlation, "_log_sums_by_hand", total_correlation._log_sums)
    expected = penalties(*inputs, estimator)
    torch.testing.assert_close(by_hand, expected, rtol=1e-12, atol=1e-12)
    for gradient, right in zip(gradients, torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_stacked_replicas_have_the_parts_of_each(estimator: str) -> None:
    inputs = [torch.stack(each) for each in zip(*(draw(0.3, 16, 3, seed) for seed in range(4)), strict=True)]
    one = torch.func.grad(lambda *tensors: penalties(*tensors, estimator), argnums=(0, 1, 2))
    together = torch.vmap(one)(*inputs)
    for replica, alone in enumerate(zip(*inputs, strict=True)):
        for gradient, right in zip(together, one(*alone), strict=True):
            torch.testing.assert_close(gradient[replica], right, rtol=1e-9, atol=1e-9)
