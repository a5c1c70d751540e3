"""St-RKM: an auto-encoder with PCA on a Stiefel manifold in the middle (Pandey et al. 2022, arXiv 2006.07046).

The training loss depends on the frame U only through its span, so the axes come from the eigen-rotation in `finalize`.
The frame is trained by Cayley-Adam (Li et al. 2020, arXiv 2002.01113, algorithm 2). Here its Cayley transform is exact,
in float64, and a Newton-Schulz step follows it, so that a float32 frame stays orthonormal to 1e-6 after every step at
any learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from pbt_disent.config import Hyperparameter
from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES, Batch, LossTerms, Objective, Representation, hyperparameter
from pbt_disent.models.networks import ImageShape
from pbt_disent.models.noise import normal
from pbt_disent.types import Hyperparameters

__all__ = ["CayleyAdam", "Frame", "StRKM", "cayley", "fix_signs"]


def fix_signs(columns: Tensor) -> Tensor:
    """Flip each column of a matrix so that its entry of largest size is positive."""
    largest = columns.gather(0, columns.abs().argmax(0, keepdim=True))
    return columns * torch.where(largest < 0, -1.0, 1.0)


class Frame(nn.Module):
    """A point on the Stiefel manifold: `columns`, a parameter (rows, m) with orthonormal columns.

    Args:
        rows: The dimension of the space.
        m: The number of columns, at most `rows`.
    """

    def __init__(self, rows: int, m: int) -> None:
        super().__init__()
        self.columns = nn.Parameter(torch.eye(rows, m))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw a uniformly distributed frame."""
        drawn = torch.randn(self.columns.shape, generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(drawn)
        with torch.no_grad():
            self.columns.copy_(q * torch.where(r.diagonal() < 0, -1.0, 1.0))


def cayley(frame: Tensor, direction: Tensor, scale: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Move a frame along the tangent of a direction, by the Cayley transform of W = (P X' - X P') / scale.

    With P = M - X X' M / 2 the matrix W has rank 2m, so the transform costs one 2m x 2m system (Woodbury).

    Args:
        frame: The frame X, (..., l, m) float64 with orthonormal columns.
        direction: The direction M in which the loss rises, (..., l, m).
        scale: The positive number by which W is divided, (..., 1, 1).
        rate: The learning rate; the step is cut to 1 / |W|_1.

    Returns:
        The new frame (..., l, m), and W X (..., l, m).
    """
    part = (direction - 0.5 * frame @ (frame.mT @ direction)) / scale
    left, right = torch.cat([part, -frame], -1), torch.cat([frame, part], -1)
    norm = (left @ right.mT).abs().sum(-2).amax(-1)[..., None, None]
    half = 0.5 * torch.minimum(rate, 1 / (norm + 1e-8))
    projected = right.mT @ frame
    eye = torch.eye(left.shape[-1], dtype=frame.dtype, device=frame.device)
    moved = frame - 2 * half * left @ torch.linalg.solve(eye + half * right.mT @ left, projected)
    return 1.5 * moved - 0.5 * moved @ (moved.mT @ moved), left @ projected


class CayleyAdam(torch.optim.Optimizer):
    """Adam on frames: momentum in the tangent space, one second moment for the whole matrix.

    Args:
        frames: The parameters, (..., l, m) with orthonormal columns.
        lr: The largest step.
        betas: The decay of the first and of the second moment.
        eps: The number that is added to the second moment.
    """

    def __init__(
        self, frames: Iterable[nn.Parameter], lr: float, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-8
    ) -> None:
        super().__init__(frames, {"lr": lr, "betas": betas, "eps": eps})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; the override drops the overloads of torch's own signature.

        Args:
            closure: A function that computes the loss again, as in torch; it is called first.
        """
        value = None if closure is None else closure()
        for group in self.param_groups:
            for frame in group["params"]:
                if frame.grad is not None:
                    self._move(frame, group)
        return value

    @torch.no_grad()
    def _move(self, frame: nn.Parameter, group: dict[str, Any]) -> None:
        gradient, state = frame.grad, self.state[frame]
        if gradient is None:
            return
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(frame, dtype=torch.float64)
            state["exp_avg_sq"] = torch.zeros(frame.shape[:-2], dtype=torch.float64, device=frame.device)
        first, second = group["betas"]
        gradient = gradient.double()
        state["step"] += 1
        momentum = state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].lerp_(gradient.square().sum((-2, -1)), 1 - second)
        correction = 1 - first ** state["step"]
        size = (state["exp_avg_sq"] / (1 - second ** state["step"]) + group["eps"]).sqrt()[..., None, None]
        rate = torch.as_tensor(group["lr"], dtype=torch.float64, device=frame.device)
        moved, tangent = cayley(frame.double(), momentum / correction, size, rate)
        frame.copy_(moved)
        state["exp_avg"].copy_(size * correction * tangent)


PROBES = 64
"""Images on which the decoder's error and its slope along each axis are measured."""


@OBJECTIVES.register("strkm")
class StRKM(Objective):
    """Minimises weight * squared error / 2 + |(I - U U') (features - their mean)|^2, U with orthonormal columns.

    This is the objective of arXiv 2006.07046 with its lambda equal to half the `weight`.

    ``autoencoder``: ``plain`` decodes U U' features; ``noisy`` adds sigma * U e, e ~ N(0, I), before decoding;
    ``split`` decodes both and adds their squared distance.
    """

    class Options(Objective.Options):
        """The options of St-RKM."""

        latents: int = Field(10, ge=1, le=512, description="The number of principal axes that are kept (m).")
        lr: Hyperparameter = hyperparameter(2e-4, 1e-6, 1e-2, description="The learning rate of the networks.")
        batch_size: Hyperparameter = hyperparameter(
            256, 16, 1024, integer=True, description="The number of images in a batch."
        )
        stiefel_lr: Hyperparameter = hyperparameter(1e-4, 1e-6, 0.1, description="The learning rate of the frame U.")
        weight: Hyperparameter = hyperparameter(1, 0.01, 1000, description="The weight of the reconstruction error.")
        sigma: Hyperparameter = hyperparameter(
            1e-3, 1e-5, 1, optional=True, description="The standard deviation of the noise on the features."
        )
        features: int = Field(50, ge=1, le=4096, description="The size of the feature space (l).")
        autoencoder: Literal["plain", "noisy", "split"] = Field("split", description="The kind of reconstruction loss.")

        def resolve(self, image_shape: ImageShape) -> Self:
            """Fill in the network.

            Raises:
                UserError: There are more axes than features, or the network does not take the images.
            """
            if self.latents > self.features:
                raise UserError(
                    f"objective.latents={self.latents}",
                    f"must not exceed objective.features={self.features}",
                    "lower it, or raise the features",
                )
            return super().resolve(image_shape)

    options: Options

    centre: Tensor
    axes: Tensor
    variances: Tensor
    noise: Tensor

    def __init__(
        self, options: Options, hyperparameters: Hyperparameters, image_shape: ImageShape, dataset_size: int
    ) -> None:
        super().__init__(options, hyperparameters, image_shape, dataset_size)
        network, features, latents = options.network, options.features, options.latents
        self.encoder = network.encoder(image_shape, features)
        self.decoder = network.decoder(image_shape, features)
        self.frame = Frame(features, latents)
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("axes", torch.eye(features, latents))
        self.register_buffer("variances", torch.ones(latents))
        self.register_buffer("noise", torch.ones(latents))

    def is_capturable(self, step: int) -> bool:
        """Return false: the solver in `cayley` reports to the host."""
        return False

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return the one loss that both optimisers, ``model`` and ``stiefel``, share."""
        images, frame = batch.images, self.frame.columns
        features = self.encoder(images)
        centred = features - features.mean(0)
        projected = centred @ frame @ frame.t()
        discarded = (centred - projected).square().sum() / len(images)
        error = self._error(images, projected, generator)
        loss = 0.5 * self.values["weight"] * error + discarded
        terms = {"reconstruction": error.detach(), "discarded": discarded.detach()}
        return {"model": LossTerms(loss, terms), "stiefel": LossTerms(loss, {})}

    def _error(self, images: Tensor, projected: Tensor, generator: torch.Generator) -> Tensor:
        """Return the squared error per image, of the kind that the option `autoencoder` says."""
        kind, frame = self.options.autoencoder, self.frame.columns
        noise = normal((len(images), frame.shape[1]), generator, projected)
        shifted = projected + self.values["sigma"] * noise @ frame.t()
        if kind == "noisy":
            return (images - self._images(shifted)).square().sum() / len(images)
        decoded = self._images(projected)
        error = (images - decoded).square().sum()
        if kind == "split":
            error = error + (decoded - self._images(shifted)).square().sum()
        return error / len(images)

    def _images(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(features))

    @torch.no_grad()
    def finalize(self, batches: Iterable[Tensor]) -> None:
        """Store the mean of the features, their leading eigenvectors as axes, and the noise along each axis.

        The noise is that of a code that is read off an image whose pixels err as the reconstruction does: mean
        squared pixel error over squared slope of the decoder. It takes the place of a posterior variance.
        """
        first, parts = None, []
        for images in batches:
            first = images[:PROBES] if first is None else first
            parts.append(self.encoder(images))
        if first is None:
            return
        features = torch.cat(parts).double()
        self.centre.copy_(features.mean(0))
        centred = features - features.mean(0)
        values, vectors = torch.linalg.eigh(centred.t() @ centred / len(features))
        latents = self.axes.shape[1]
        self.axes.copy_(fix_signs(vectors.flip(1)[:, :latents]))
        self.variances.copy_(values.flip(0)[:latents].clamp_min(0))
        codes = self._codes(first)
        start, reach = self.decode(codes), 0.1 * self.variances.sqrt() + 1e-6
        error = (first - start).square().mean()
        for latent in range(latents):
            moved = codes.clone()
            moved[:, latent] += reach[latent]
            slope = (self.decode(moved) - start).square().sum() / len(codes) / reach[latent] ** 2
            self.noise[latent] = error / slope.clamp_min(1e-12)

    def _codes(self, images: Tensor) -> Tensor:
        codes: Tensor = (self.encoder(images) - self.centre) @ self.axes
        return codes

    def represent(self, images: Tensor) -> Representation:
        """Encode (B, C, H, W) images in 0 to 1.

        The information of a latent is 1/2 ln(1 + variance / noise), both as measured by `finalize`.
        """
        return Representation(self._codes(images), None, 0.5 * torch.log1p(self.variances / self.noise))

    def decode(self, codes: Tensor) -> Tensor:
        """Decode (B, Z) codes to (B, C, H, W) images in 0 to 1."""
        return self._images(codes @ self.axes.t())

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return Adam for the networks and Cayley-Adam for the frame."""
        networks = [*self.encoder.parameters(), *self.decoder.parameters()]
        return {
            "model": torch.optim.Adam(networks, lr=self.values["lr"], fused=True),
            "stiefel": CayleyAdam(self.frame.parameters(), lr=self.values["stiefel_lr"]),
        }
