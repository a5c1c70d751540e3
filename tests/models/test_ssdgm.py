"""Semi-supervised model: against the VAE, the labelled bound, exact enumeration and cross entropy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pbt_disent.errors import UserError
from pbt_disent.models import Objective
from pbt_disent.models.contract import Batch, LossTerms
from pbt_disent.models.gaussian_vae import kl_per_latent, log_normal, log_prior
from pbt_disent.models.likelihoods import Bernoulli
from pbt_disent.models.objectives.ssdgm import SSDGM
from tests.objectives import options_of

Make = Callable[..., Objective]
PLAIN: dict[str, Any] = {"network": {"name": "mlp", "width": 16}, "latents": 4}


def ssdgm(make: Make, **values: Any) -> SSDGM:
    objective = make("ssdgm", **{**PLAIN, **values})
    assert isinstance(objective, SSDGM)
    return objective


def part_of(objective: Objective, batch: Batch, seed: int = 2) -> LossTerms:
    return objective.losses(batch, 0, torch.Generator().manual_seed(seed))["model"]


def labelled(images: Tensor, labels: Tensor, known: bool | Tensor = True) -> Batch:
    mask = torch.full(labels.shape, known) if isinstance(known, bool) else known
    return Batch(images, labels, mask)


def by_hand(objective: SSDGM, images: Tensor, seed: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Return -log p(x|y, z) for each image and class (B, Y), log q(y|x) (B, Y), and the KL of z (B,), one label."""
    logits, mean, log_sigma = objective.posterior(images)
    noise = torch.randn((1, *mean.shape), generator=torch.Generator().manual_seed(seed))[0]
    z = mean + log_sigma.exp() * noise
    columns = []
    for value in range(objective.classes[0]):
        code = functional.one_hot(torch.full((len(images),), value), objective.classes[0]).float()
        columns.append(Bernoulli().image_losses(objective.decoder(torch.cat([code, z], 1)), images))
    return torch.stack(columns, 1), logits.log_softmax(1), kl_per_latent(mean, log_sigma).sum(1)


def test_without_labels_it_is_the_elbo_with_labels_enumerated(make: Make, images: Tensor) -> None:
    objective = ssdgm(make, classes=[3])
    nll, log_q, kl = by_hand(objective, images)
    elbo = (log_q.exp() * (-nll - log_q - math.log(3))).sum(1) - kl
    assert part_of(objective, Batch(images)).loss.item() == pytest.approx(-elbo.mean().item(), rel=1e-5)
    masked = labelled(images, torch.ones(len(images), 1, dtype=torch.long), known=False)
    assert part_of(objective, masked).loss.item() == pytest.approx(-elbo.mean().item(), rel=1e-5)


def test_one_class_is_no_label_at_all(make: Make, images: Tensor) -> None:
    objective = ssdgm(make, classes=[1])
    nll, _, kl = by_hand(objective, images)
    assert part_of(objective, Batch(images)).loss.item() == pytest.approx((nll[:, 0] + kl).mean().item(), rel=1e-5)


def test_labelled_bound_by_hand(make: Make, images: Tensor) -> None:
    """Labels that do not see z: the M2 bound log p(x|y,z) + log p(y) - KL(z), plus alpha log q(y|x)."""
    labels = torch.arange(len(images)).remainder(3).unsqueeze(1)
    objective = ssdgm(make, classes=[3], alpha=0.7)
    nll, log_q, kl = by_hand(objective, images)
    own = log_q.gather(1, labels)[:, 0]
    bound = -nll.gather(1, labels)[:, 0] - math.log(3) - kl + 0.7 * own
    part = part_of(objective, labelled(images, labels))
    assert part.loss.item() == pytest.approx(-bound.mean().item(), rel=1e-5)
    assert part.terms["label_nll"].item() == pytest.approx(-own.mean().item(), rel=1e-5)


def test_gamma_weighs_the_labelled_images(make: Make, images: Tensor) -> None:
    labels = torch.arange(len(images)).remainder(3).unsqueeze(1)
    known = torch.arange(len(images)).lt(10).unsqueeze(1)
    batch = labelled(images, labels, known)
    none, one, two = (part_of(ssdgm(make, classes=[3], gamma=gamma), batch).loss.item() for gamma in (0, 1, 2))
    assert two - one == pytest.approx(one - none, rel=1e-4)
    nll, log_q, kl = by_hand(ssdgm(make, classes=[3]), images)
    elbo = (log_q.exp() * (-nll - log_q - math.log(3))).sum(1) - kl
    assert none == pytest.approx(-elbo[10:].sum().item() / len(images), rel=1e-5)


def test_a_partly_labelled_image_sums_over_the_rest(make: Make, images: Tensor) -> None:
    """With the second of two labels unknown, the bound is the mean over its classes plus its entropy."""
    objective = ssdgm(make, classes=[2, 3], latents=5, gamma=1, alpha=0)
    labels = torch.stack([torch.arange(len(images)).remainder(2), torch.zeros(len(images), dtype=torch.long)], 1)
    first_only = torch.tensor([True, False]).expand(len(images), -1)
    found = part_of(objective, labelled(images, labels, first_only)).loss.item()
    logits, mean, log_sigma = objective.posterior(images)
    z = mean + log_sigma.exp() * torch.randn((1, *mean.shape), generator=torch.Generator().manual_seed(2))[0]
    log_rest = logits[:, 2:].log_softmax(1)
    total = -kl_per_latent(mean, log_sigma).sum(1) - math.log(6)
    for value in range(3):
        code = torch.cat([functional.one_hot(labels[:, 0], 2), functional.one_hot(labels[:, 1] + value, 3)], 1).float()
        nll = Bernoulli().image_losses(objective.decoder(torch.cat([code, z], 1)), images)
        total = total + log_rest[:, value].exp() * (-nll - log_rest[:, value])
    assert found == pytest.approx(-total.mean().item(), rel=1e-5)


def test_equal_weights_when_labels_do_not_see_the_latents(make: Make, images: Tensor) -> None:
    labels = torch.arange(len(images)).remainder(3).unsqueeze(1)
    batch = labelled(images, labels)
    plain = ssdgm(make, classes=[3], samples=5)
    assert part_of(plain, batch).terms["effective_samples"].item() == pytest.approx(5, rel=1e-5)
    seeing = ssdgm(make, classes=[3], samples=5, labels_see_latents=True)
    assert seeing.link is not None
    with torch.no_grad():
        seeing.link.weight.mul_(20)
    assert 1 <= part_of(seeing, batch).terms["effective_samples"].item() < 4.5


def test_weighted_bound_approaches_the_exact_one(make: Make, images: Tensor) -> None:
    """The self-normalised mean over q(z|x) tends to the mean over q(z|x, y): its bias shrinks with S."""
    one = images[:1]
    batch = labelled(one, torch.zeros(1, 1, dtype=torch.long))
    values = {}
    for samples in (1, 4, 64):
        objective = ssdgm(make, classes=[2], samples=samples, labels_see_latents=True, alpha=0, beta=1)
        assert objective.link is not None
        with torch.no_grad():
            objective.link.weight.mul_(6)
            values[samples] = [part_of(objective, batch, seed).loss.item() for seed in range(150)]
    mean = {samples: sum(v) / len(v) for samples, v in values.items()}
    assert abs(mean[4] - mean[64]) < 0.6 * abs(mean[1] - mean[64])


def test_the_bias_of_weighted_samples_shrinks_with_their_number(make: Make, images: Tensor) -> None:
    """Against the exact bound, by quadrature over the one free latent: the bias at S is about 1 / S of its size."""
    objective = ssdgm(make, classes=[2], latents=2, labels_see_latents=True, alpha=0, beta=1).double()
    assert objective.link is not None
    one, label = images[:1].double(), torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad():
        objective.link.weight.copy_(torch.tensor([[1.5], [-1.5]]))
        last = objective.encoder[-1]
        last.bias[2:].copy_(torch.tensor([1.0, -0.5]))  # a posterior that is not the prior
        _, mean, log_sigma = (part.double() for part in objective.posterior(one))
        z = mean + log_sigma.exp() * torch.linspace(-8, 8, 4001, dtype=torch.float64).unsqueeze(1)
        mass = log_normal(z, mean, log_sigma).exp()[:, 0]
        mass = mass / mass.sum()
        log_weight = objective.classify(objective.posterior(one)[0], z.unsqueeze(1))[0][:, 0, 0]
        code = functional.one_hot(torch.zeros(len(z), dtype=torch.long), 2).double()
        nll = Bernoulli().image_losses(objective.decoder(torch.cat([code, z], 1)), one.expand(4001, -1, -1, -1))
        inside = -nll - (log_normal(z, mean, log_sigma) - log_prior(z))[:, 0] - log_weight - math.log(2)
        exact = (mass * log_weight.exp() * inside).sum() / (mass * log_weight.exp()).sum() + (mass * log_weight).sum()
        bias = {}
        for samples in (2, 8):
            many = ssdgm(
                make, classes=[2], latents=2, labels_see_latents=True, alpha=0, beta=1, samples=samples
            ).double()
            many.load_state_dict(objective.state_dict())
            batch = labelled(one.expand(4000, -1, -1, -1), label.expand(4000, -1))
            bias[samples] = -part_of(many, batch).loss.item() - exact.item()
    assert abs(bias[2]) > 1e-3
    assert bias[2] / bias[8] == pytest.approx(4, rel=0.4)


def test_enumeration_is_the_mean_over_sampled_labels(make: Make, images: Tensor) -> None:
    """Labels drawn by Gumbel noise, at the same latents: their mean bound is the enumerated one, within its error."""
    objective = ssdgm(make, classes=[3])
    nll, log_q, kl = by_hand(objective, images)
    uniform = torch.rand((5000, *log_q.shape), generator=torch.Generator().manual_seed(0))
    drawn = (log_q - (-uniform.clamp(1e-9, 1 - 1e-7).log()).log()).argmax(2, keepdim=True)
    value = (-nll - log_q - math.log(3)).expand(5000, -1, -1).gather(2, drawn)[:, :, 0] - kl
    per_draw = value.mean(1)
    error = (per_draw.std() / math.sqrt(len(per_draw))).item()
    assert 0 < error < 0.1
    assert -part_of(objective, Batch(images)).loss.item() == pytest.approx(per_draw.mean().item(), abs=4 * error)


def test_alpha_weighs_the_cross_entropy_of_the_classifier(make: Make, images: Tensor) -> None:
    """What alpha adds to the gradient is exactly that of a classifier's loss, so a large alpha trains one."""
    labels = torch.arange(len(images)).remainder(3).unsqueeze(1)
    gradients = []
    for alpha in (1000, 2000):
        objective = ssdgm(make, classes=[3], alpha=alpha).double()
        batch = labelled(images.double(), labels)
        gradients.append(torch.autograd.grad(part_of(objective, batch).loss, list(objective.encoder.parameters())))
    loss = functional.cross_entropy(objective.posterior(images.double())[0], labels[:, 0])
    expected = torch.autograd.grad(loss, list(objective.encoder.parameters()))
    for one, two, alone in zip(*gradients, expected, strict=True):
        torch.testing.assert_close(two - one, 1000 * alone, rtol=1e-6, atol=1e-6)


def test_a_large_alpha_makes_a_classifier(make: Make, images: Tensor) -> None:
    labels = (images[:, 0, 16:].sum((1, 2)) > images[:, 0, :16].sum((1, 2))).long().unsqueeze(1)
    objective = ssdgm(make, classes=[2], alpha=1000, lr=1e-2)
    optimizer = objective.optimizers()["model"]
    for step in range(40):
        optimizer.zero_grad()
        part_of(objective, labelled(images, labels), seed=step).loss.backward()
        optimizer.step()
    codes = objective.represent(images).mean[:, :1]
    assert torch.equal(codes.round().long(), labels)


def test_codes_of_labelled_latents(make: Make, images: Tensor) -> None:
    objective = ssdgm(make, classes=[3], latents=3).eval()
    with torch.no_grad():
        last = objective.encoder[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, 0.0, 50.0, 0.5, -0.5, 0.0, 0.0]))
    seen = objective.represent(images)
    torch.testing.assert_close(seen.mean[0], torch.tensor([2.0, 0.5, -0.5]))
    torch.testing.assert_close(seen.information, torch.tensor([math.log(3), 0.125, 0.125]))
    near = torch.tensor([[1.7, 0.5, -0.5], [9.0, 0.5, -0.5], [2.0, 0.5, -0.5]])
    frames = objective.decode(near)
    assert torch.equal(frames[0], frames[1])
    assert torch.equal(frames[0], frames[2])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "must name the labelled latents"),
        ({"classes": [20, 20]}, "at most 256 combinations"),
        ({"classes": [2, 2], "latents": 2}, "must leave a free one"),
        ({"classes": 3}, "objective.classes=3: input should be a valid tuple; the default is"),
        ({"classes": [0]}, "objective.classes.0=0: input should be greater than or equal to 1"),
        ({"classes": [257]}, "objective.classes.0=257: input should be less than or equal to 256"),
    ],
)
def test_labels_must_make_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        options_of("ssdgm", **values)
