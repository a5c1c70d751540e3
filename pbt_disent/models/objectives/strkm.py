"""St-RKM: an auto-encoder with PCA on a Stiefel manifold in the middle (Pandey et al. 2022, arXiv 2006.07046).

The training loss knows the frame U only through its span, so the axes come from the eigen-rotation in `finalize`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from pbt_disent.config import Hyperparameter
from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES, Batch, LossTerms, Objective, Representation, hyperparameter
from pbt_disent.models.networks import ImageShape
from pbt_disent.models.noise import normal
from pbt_disent.models.stiefel import CayleyAdam, Frame, fix_signs
from pbt_disent.types import Hyperparameters

__all__ = ["StRKM"]

PROBES = 64
"""Images on which the decoder's error and its slope along each axis are measured."""


@OBJECTIVES.register("strkm")
class StRKM(Objective):
    """Minimises weight * squared error / 2 + |(I - U U') (features - their mean)|^2, U with orthonormal columns.

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
        """Squared error per image, of the chosen kind."""
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
        """Encode (B, C, H, W) images in 0 to 1; information is 1/2 ln(1 + variance / noise) of the set settled on."""
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
