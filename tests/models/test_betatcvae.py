"""beta-TCVAE: beta = 1 is the ELBO, and beta weighs the total correlation and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pbt_disent.models.contract import Batch, LossTerms, Objective
from pbt_disent.models.gaussian_vae import kl_per_latent, log_normal, log_prior

Make = Callable[..., Objective]


def terms_of(objective: Objective, images: Tensor) -> LossTerms:
    return objective.losses(Batch(images), 0, torch.Generator().manual_seed(5))["model"]


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_beta_one_is_the_negative_elbo(make: Make, images: Tensor, estimator: str) -> None:
    objective = make(beta=1, estimator=estimator)
    part = terms_of(objective, images)
    assert part.loss.item() == pytest.approx(-part.terms["elbo"].item(), rel=1e-6)
    mean, log_sigma = objective.posterior(images)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(5))
    z = mean + log_sigma.exp() * noise
    probability = objective.decode(z).clamp(1e-7, 1 - 1e-7)
    likelihood = (images * probability.log() + (1 - images) * (1 - probability).log()).sum() / len(images)
    kl = (log_normal(z, mean, log_sigma) - log_prior(z)).sum() / len(images)
    assert part.terms["elbo"].item() == pytest.approx((likelihood - kl).item(), rel=1e-4)


@pytest.mark.parametrize("estimator", ["mws", "mss"])
def test_beta_weighs_the_total_correlation(make: Make, images: Tensor, estimator: str) -> None:
    one = terms_of(make(beta=1, estimator=estimator), images)
    ten = terms_of(make(beta=10, estimator=estimator), images)
    difference = (ten.loss - one.loss).item()
    assert difference == pytest.approx(9 * one.terms["total_correlation"].item(), rel=1e-3)
    parts = sum(ten.terms[name] for name in ("reconstruction", "mutual_information", "dimension_kl"))
    assert ten.loss.item() == pytest.approx((parts + 10 * ten.terms["total_correlation"]).item(), rel=1e-5)


def test_estimators_differ(make: Make, images: Tensor) -> None:
    values = {
        estimator: terms_of(make(estimator=estimator), images).terms["total_correlation"].item()
        for estimator in ("mws", "mss")
    }
    assert values["mss"] < values["mws"]


def test_reported_total_correlation_is_free_of_the_size_of_the_set(make: Make, images: Tensor) -> None:
    small, large = make(), make()
    large.dataset_size = 1_000_000
    a, b = terms_of(small, images), terms_of(large, images)
    for name in a.terms:
        assert a.terms[name].item() == pytest.approx(b.terms[name].item(), rel=1e-4, abs=1e-4)


def test_information_is_the_true_kl(make: Make, images: Tensor) -> None:
    objective = make().eval()
    seen = objective.represent(images)
    assert seen.log_sigma is not None
    torch.testing.assert_close(seen.information, kl_per_latent(seen.mean, seen.log_sigma).mean(0))
    prior = torch.distributions.Normal(0.0, 1.0)
    posterior = torch.distributions.Normal(seen.mean, seen.log_sigma.exp())
    expected = torch.distributions.kl_divergence(posterior, prior).mean(0)
    torch.testing.assert_close(seen.information, expected, rtol=1e-4, atol=1e-5)
