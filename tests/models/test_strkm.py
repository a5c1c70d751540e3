"""St-RKM: orthonormal at every step, PCA where it must be PCA, axes from the eigen-rotation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pbt_disent.errors import UserError
from pbt_disent.models import LatentModel, Objective
from pbt_disent.models.contract import Batch
from pbt_disent.models.objectives import strkm
from pbt_disent.models.objectives.strkm import CayleyAdam, Frame, StRKM, cayley, fix_signs
from tests.objectives import options_of

Make = Callable[..., Objective]


def frame_of(rows: int, m: int, seed: int = 0) -> Frame:
    frame = Frame(rows, m)
    frame.initialise(torch.Generator().manual_seed(seed))
    return frame


def drift(columns: Tensor) -> float:
    columns = columns.detach()
    return (columns.t() @ columns - torch.eye(columns.shape[1], dtype=columns.dtype)).abs().max().item()


@pytest.mark.parametrize("rate", [1e-4, 0.1, 1.0])
@pytest.mark.parametrize("size", [1.0, 1e-12, 1e6])
def test_frames_stay_orthonormal(rate: float, size: float) -> None:
    frame = frame_of(50, 10)
    assert drift(frame.columns) < 1e-6
    optimizer = CayleyAdam(frame.parameters(), rate)
    generator = torch.Generator().manual_seed(1)
    for _ in range(150):
        frame.columns.grad = size * torch.randn(50, 10, generator=generator)
        optimizer.step()
        assert drift(frame.columns) <= 1e-6


def test_frames_in_double_precision() -> None:
    frame = frame_of(20, 4).double()
    frame.columns.data = torch.linalg.qr(frame.columns.data).Q
    optimizer = CayleyAdam(frame.parameters(), 1.0)
    for seed in range(50):
        frame.columns.grad = torch.randn(20, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        optimizer.step()
        assert drift(frame.columns) <= 1e-12


def test_the_transform_is_cayleys() -> None:
    """Against the dense formula (I + a/2 W)^-1 (I - a/2 W) X, with W skew."""
    generator = torch.Generator().manual_seed(0)
    x = torch.linalg.qr(torch.randn(6, 2, generator=generator, dtype=torch.float64)).Q
    m, scale = torch.randn(6, 2, generator=generator, dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64)
    hat = m @ x.t() - 0.5 * x @ (x.t() @ m @ x.t())
    w = (hat - hat.t()) / scale
    rate = torch.tensor(0.05, dtype=torch.float64)
    eye = torch.eye(6, dtype=torch.float64)
    expected = torch.linalg.solve(eye + 0.025 * w, (eye - 0.025 * w) @ x)
    moved, tangent = cayley(x, m, scale, rate)
    torch.testing.assert_close(moved, expected)
    torch.testing.assert_close(tangent, w @ x)
    skew = x.t() @ tangent
    torch.testing.assert_close(skew, -skew.t())


def test_a_step_mends_a_frame() -> None:
    """Rounding cannot add up: the error of one step is the square of what was there before."""
    frame = frame_of(50, 10).double().columns.detach()
    generator = torch.Generator().manual_seed(0)
    bent = frame + 1e-4 * torch.randn(50, 10, generator=generator, dtype=torch.float64)
    one, rate = torch.ones(1, 1, dtype=torch.float64), torch.tensor(1e-3, dtype=torch.float64)
    moved, _ = cayley(bent, torch.randn(50, 10, generator=generator, dtype=torch.float64), one, rate)
    assert drift(moved) < 0.01 * drift(bent)


@pytest.mark.parametrize("rate", [1e-3, 1.0])
def test_steps_are_those_of_cayley_adam(rate: float) -> None:
    """Three steps against the published algorithm with dense matrices and the transform in full."""
    frame = frame_of(6, 2).double()
    frame.columns.data = torch.linalg.qr(frame.columns.data).Q
    x = frame.columns.detach().clone()
    optimizer = CayleyAdam(frame.parameters(), rate)
    generator, eye = torch.Generator().manual_seed(1), torch.eye(6, dtype=torch.float64)
    m, v = torch.zeros(6, 2, dtype=torch.float64), 0.0
    for t in (1, 2, 3):
        gradient = torch.randn(6, 2, generator=generator, dtype=torch.float64)
        frame.columns.grad = gradient.clone()
        optimizer.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + 0.01 * gradient.square().sum().item()
        hat, size = m / (1 - 0.9**t), (v / (1 - 0.99**t) + 1e-8) ** 0.5
        w = hat @ x.t() - 0.5 * x @ (x.t() @ hat @ x.t())
        w = (w - w.t()) / size
        step = min(rate, 1 / (w.abs().sum(0).max().item() + 1e-8))
        before, x = x, torch.linalg.solve(eye + 0.5 * step * w, (eye - 0.5 * step * w) @ x)
        m = size * (1 - 0.9**t) * w @ before
        torch.testing.assert_close(frame.columns.detach(), x, rtol=1e-9, atol=1e-9)


def test_pca_alone_finds_the_leading_eigenvectors() -> None:
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([3.0, 2.5, 2.0, 0.7, 0.5, 0.3, 0.2, 0.1], dtype=torch.float64)
    mixing = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64)).Q
    features = torch.randn(400, 8, generator=generator, dtype=torch.float64) * scales @ mixing.t()
    features = features - features.mean(0)
    values, vectors = torch.linalg.eigh(features.t() @ features / len(features))
    frame = frame_of(8, 3).double()
    optimizer = CayleyAdam(frame.parameters(), 0.05)
    first = None
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.05 * 0.99**step
        optimizer.zero_grad()
        rest = features - features @ frame.columns @ frame.columns.t()
        loss = rest.square().sum() / len(features)
        first = loss.item() if first is None else first
        loss.backward()
        optimizer.step()
    assert loss.item() < first
    assert loss.item() == pytest.approx(values[:5].sum().item(), rel=1e-5)
    overlap = torch.linalg.svdvals(vectors[:, 5:].t() @ frame.columns.detach())
    assert torch.arccos(overlap.clamp(max=1)).max().item() < 1e-3


def loss_of(objective: Objective, images: Tensor, seed: int = 2) -> dict[str, float]:
    part = objective.losses(Batch(images), 0, torch.Generator().manual_seed(seed))["model"]
    return {"loss": part.loss.item(), **{name: value.item() for name, value in part.terms.items()}}


def test_the_loss_knows_only_the_span(make: Make, images: Tensor) -> None:
    objective = make("strkm", autoencoder="plain", features=8)
    assert isinstance(objective, StRKM)
    before = loss_of(objective, images)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0))).Q
    with torch.no_grad():
        objective.frame.columns.copy_(objective.frame.columns @ rotation)
    assert loss_of(objective, images) == pytest.approx(before, rel=1e-4)


@pytest.mark.parametrize("kind", ["noisy", "split"])
def test_turned_axes_and_turned_noise_are_one(
    make: Make, images: Tensor, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The loss at U R with noise e is that at U with R e, which is distributed as e: equal in expectation."""
    objective = make("strkm", autoencoder=kind, sigma=0.5, features=8).double()
    assert isinstance(objective, StRKM)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(images), 4, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    found = []
    for turned in (False, True):
        drawn = noise if turned else noise @ rotation.t()
        monkeypatch.setattr(strkm, "normal", lambda *given, drawn=drawn: drawn)
        if turned:
            objective.frame.columns.data = objective.frame.columns.data @ rotation
        found.append(loss_of(objective, images.double())["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-9)
    monkeypatch.setattr(strkm, "normal", lambda *given: noise @ rotation.t())
    assert loss_of(objective, images.double())["loss"] != pytest.approx(found[0], rel=1e-6)


def test_a_linear_model_is_pca(make: Make) -> None:
    """Its reconstruction error falls to the sum of the discarded eigenvalues, and it keeps the leading directions."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([2.0, 1.5, 0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    mixing = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    data = torch.randn(300, 6, generator=generator, dtype=torch.float64) * scales @ mixing.t() + 1
    values, vectors = torch.linalg.eigh(torch.cov(data.t(), correction=0))
    objective = make("strkm", latents=2, features=4, autoencoder="plain", network="mlp", weight=1000)
    assert isinstance(objective, StRKM)
    objective.encoder, objective.decoder = nn.Linear(6, 4), nn.Linear(4, 6)
    objective.double()
    objective._images = objective.decoder.forward  # type: ignore[method-assign]
    networks = torch.optim.Adam([*objective.encoder.parameters(), *objective.decoder.parameters()])
    frame = CayleyAdam(objective.frame.parameters(), 0.05)
    for step in range(700):
        for optimizer in (networks, frame):
            optimizer.param_groups[0]["lr"] = 0.05 * 0.99**step
            optimizer.zero_grad()
        part = objective.losses(Batch(data), step, generator)["model"]
        part.loss.backward()
        networks.step()
        frame.step()
    assert 1 <= part.terms["reconstruction"].item() / values[:4].sum().item() < 1.01
    kept = torch.linalg.qr(objective.decoder.weight @ objective.frame.columns).Q
    assert torch.linalg.svdvals(vectors[:, 4:].t() @ kept).min().item() > 0.999


def test_a_small_step_lowers_the_objective() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 8, generator=generator, dtype=torch.float64) * torch.arange(1, 9)
    frame = frame_of(8, 3).double()
    optimizer = CayleyAdam(frame.parameters(), 1e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (features - features @ frame.columns @ frame.columns.t()).square().sum() / len(features)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert (np.diff(losses) < 0).all()


@pytest.mark.parametrize("kind", ["noisy", "split"])
def test_without_noise_all_losses_are_one(make: Make, images: Tensor, kind: str) -> None:
    """In training mode batch norm sees each pass alone, so equal inputs give equal outputs."""
    plain = loss_of(make("strkm", autoencoder="plain"), images)
    assert loss_of(make("strkm", autoencoder=kind, sigma=0), images) == pytest.approx(plain, rel=1e-5)
    assert loss_of(make("strkm", autoencoder=kind, sigma=1), images)["loss"] != pytest.approx(plain["loss"], rel=1e-4)


def test_as_many_axes_as_features_discard_nothing(make: Make, images: Tensor) -> None:
    assert loss_of(make("strkm", features=4, latents=4), images)["discarded"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(UserError, match=r"latents=5: must not exceed objective.features=4"):
        options_of("strkm", latents=5, features=4)


def test_loss_by_hand(make: Make, images: Tensor) -> None:
    objective = make("strkm", weight=3, autoencoder="plain", features=8)
    assert isinstance(objective, StRKM)
    part = loss_of(objective, images)
    features = objective.encoder(images)
    centred = features - features.mean(0)
    frame = objective.frame.columns
    rest = centred - centred @ frame @ frame.t()
    assert part["discarded"] == pytest.approx(rest.square().sum(1).mean().item(), rel=1e-4)
    decoded = torch.sigmoid(objective.decoder(centred @ frame @ frame.t()))
    error = (images - decoded).square().sum((1, 2, 3)).mean().item()
    assert part["reconstruction"] == pytest.approx(error, rel=1e-4)
    assert part["loss"] == pytest.approx(1.5 * error + part["discarded"], rel=1e-4)


def test_settled_codes_are_uncorrelated_and_ordered(make: Make, images: Tensor, tmp_path: Path) -> None:
    objective = make("strkm", features=8).eval()
    assert isinstance(objective, StRKM)
    objective.finalize([images[:16], images[16:]])
    model = LatentModel(objective)
    codes = model.encode(images.numpy()).astype(np.float64)
    np.testing.assert_allclose(codes.mean(0), 0, atol=1e-5)
    covariance = np.cov(codes.T, bias=True)
    off = covariance - np.diag(np.diag(covariance))
    assert np.abs(off).max() / np.trace(covariance) < 1e-6
    assert (np.diff(np.diag(covariance)) <= 0).all()
    np.testing.assert_allclose(np.diag(covariance), objective.variances.numpy(), rtol=1e-3, atol=1e-9)
    model.save(tmp_path)
    loaded = LatentModel.load(tmp_path)
    np.testing.assert_array_equal(loaded.encode(images[:1].numpy()), model.encode(images[:1].numpy()))


def test_information_counts_what_the_decoder_uses(make: Make, images: Tensor) -> None:
    """A decoder that is deaf to an axis gives that axis no information."""
    objective = make("strkm", features=4, latents=4, network={"name": "mlp", "width": 16}).eval()
    assert isinstance(objective, StRKM)
    objective.finalize([images])
    before = objective.represent(images).information
    first = objective.decoder[0]
    assert isinstance(first, nn.Linear)
    deaf = objective.axes[:, 1:2]
    with torch.no_grad():
        first.weight.sub_(first.weight @ deaf @ deaf.t())
    objective.finalize([images])
    after = objective.represent(images).information
    assert after[1].item() < 1e-3 * before[0].item()
    assert after[0].item() > 0.3 * before[0].item()


def test_signs_are_fixed() -> None:
    columns = torch.tensor([[1.0, -3.0], [-2.0, 1.0]])
    assert fix_signs(columns).tolist() == [[-1.0, 3.0], [2.0, -1.0]]
