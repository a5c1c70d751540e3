"""St-RKM: an auto-encoder with PCA on a Stiefel manifold in the middle (Pandey et al. 2022, papers.md 2).

The training loss knows the frame U only through its span, so the axes come from the eigen-rotation in `settle`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from pbt_disent.config import Mutable
from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES, Batch, LossTerms, Objective, Representation
from pbt_disent.models.networks import NETWORKS, ImageShape
from pbt_disent.models.noise import normal
from pbt_disent.models.settings import Setting
from pbt_disent.models.stiefel import CayleyAdam, Frame, fix_signs
from pbt_disent.types import Hyperparameters, Json

__all__ = ["StRKM"]

PROBES = 64
"""Images on which the decoder's error and its slope along each axis are measured."""


@OBJECTIVES.register("strkm")
class StRKM(Objective):
    """Minimises weight * squared error / 2 + |(I - U U') (features - their mean)|^2, U with orthonormal columns.

    ``autoencoder``: ``plain`` decodes U U' features; ``noisy`` adds sigma * U e, e ~ N(0, I), before decoding;
    ``split`` decodes both and adds their squared distance.
    """

    hyperparameters: ClassVar[dict[str, Mutable]] = {
        "lr": Mutable(default=2e-4, low=1e-6, high=1e-2, log=True),
        "stiefel_lr": Mutable(default=1e-4, low=1e-6, high=0.1, log=True),
        "weight": Mutable(default=1, low=0.01, high=1000, log=True),
        "sigma": Mutable(default=1e-3, low=1e-5, high=1, log=True),
        "batch_size": Mutable(default=256, low=16, high=1024, log=True, integer=True),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"sigma"})
    settings: ClassVar[dict[str, Setting]] = {
        "latents": Setting(10, "number of axes kept (m)", low=1, high=512),
        "features": Setting(50, "size of the feature space (l)", low=1, high=4096),
        "network": Setting("auto", "encoder and decoder; rkm is the published one"),
        "network_width": Setting(None, "channels of the first layer; default: the network's own", low=1, high=1024),
        "autoencoder": Setting("split", "kind of reconstruction loss", choices=("plain", "noisy", "split")),
    }

    centre: Tensor
    axes: Tensor
    variances: Tensor
    noise: Tensor

    def __init__(
        self, settings: Json, hyperparameters: Hyperparameters, image_shape: ImageShape, dataset_size: int
    ) -> None:
        super().__init__(settings, hyperparameters, image_shape, dataset_size)
        network, features, latents = NETWORKS[settings["network"]], settings["features"], settings["latents"]
        self.encoder = network.encoder(image_shape, features, settings["network_width"])
        self.decoder = network.decoder(image_shape, features, settings["network_width"])
        self.frame = Frame(features, latents)
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("axes", torch.eye(features, latents))
        self.register_buffer("variances", torch.ones(latents))
        self.register_buffer("noise", torch.ones(latents))

    @classmethod
    def complete(cls, settings: Json, image_shape: ImageShape) -> Json:
        """Fill in the network; there cannot be more axes than features.

        Raises:
            UserError: there are, or the network does not take the images.
        """
        latents, features = settings["latents"], settings["features"]
        if latents > features:
            given = f"objective.latents={latents}"
            raise UserError(given, f"must not exceed objective.features={features}", "lower it, or raise the features")
        return super().complete(settings, image_shape)

    def steady(self, step: int) -> bool:
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
        kind, frame = self.options["autoencoder"], self.frame.columns
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
    def settle(self, batches: Iterable[Tensor]) -> None:
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
