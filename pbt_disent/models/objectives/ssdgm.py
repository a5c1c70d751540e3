"""Semi-supervised deep generative model: labelled latents beside free ones (Siddharth et al. 2017, papers.md 3).

Labelled latents are categorical and enumerated, free ones Gaussian. An image with known labels is a sum over the
values that agree with them, so unlabelled, partly and fully labelled images share one formula.
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from pbt_disent.config import Mutable
from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES, Batch, LossTerms, Objective, Representation
from pbt_disent.models.gaussian import kl_per_latent, log_normal, log_prior
from pbt_disent.models.likelihoods import LIKELIHOODS, negative_log_likelihoods
from pbt_disent.models.networks import NETWORKS, ImageShape
from pbt_disent.models.networks.classes import ClassUnits
from pbt_disent.models.noise import normal
from pbt_disent.models.settings import Setting
from pbt_disent.types import Hyperparameters, Json

__all__ = ["SSDGM"]

MOST_COMBINATIONS = 256


@OBJECTIVES.register("ssdgm")
class SSDGM(Objective):
    """Maximises the sum of L(x) over unlabelled and gamma * Lsup(x, y) over labelled images.

    L is the ELBO with the labels enumerated; Lsup is self-normalised over S samples z ~ q(z|x) with weights
    q(y|x, z), plus (beta + alpha) times the mean log weight, a bound of log q(y|x). `beta` weighs all that is no
    likelihood of pixels. Codes are the expected class of each labelled latent, then the free latents.
    """

    hyperparameters: ClassVar[dict[str, Mutable]] = {
        "lr": Mutable(default=1e-3, low=1e-6, high=1e-2, log=True),
        "alpha": Mutable(default=0.1, low=0.01, high=10_000, log=True),
        "gamma": Mutable(default=1, low=0.01, high=1000, log=True),
        "beta": Mutable(default=1, low=0.5, high=500, log=True),
        "batch_size": Mutable(default=128, low=16, high=1024, log=True, integer=True),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"alpha", "gamma"})
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    settings: ClassVar[dict[str, Setting]] = {
        "latents": Setting(10, "number of latents, labelled ones included", low=2, high=512),
        "classes": Setting([], "number of classes of each labelled latent, such as [3, 6]", low=1, high=256),
        "samples": Setting(1, "samples of the free latents per image (S)", low=1, high=64),
        "labels_see_latents": Setting(False, "whether q(y|x, z) depends on z; then weights are no longer equal"),
        "network": Setting("auto", "encoder and decoder; auto goes by the size of the images"),
        "network_width": Setting(None, "channels of the first layer; default: the network's own", low=1, high=1024),
        "likelihood": Setting("bernoulli", "model of a pixel", choices=tuple(LIKELIHOODS)),
    }

    combinations: Tensor

    def __init__(
        self, settings: Json, hyperparameters: Hyperparameters, image_shape: ImageShape, dataset_size: int
    ) -> None:
        super().__init__(settings, hyperparameters, image_shape, dataset_size)
        self.classes = [int(size) for size in settings["classes"]]
        self.free = int(settings["latents"]) - len(self.classes)
        network, units = NETWORKS[settings["network"]], sum(self.classes)
        self.encoder = network.encoder(image_shape, units + 2 * self.free, settings["network_width"])
        self.decoder = network.decoder(image_shape, units + self.free, settings["network_width"])
        self.units = ClassUnits(self.classes)
        self.link = nn.Linear(self.free, units, bias=False) if settings["labels_see_latents"] else None
        values = list(itertools.product(*map(range, self.classes)))
        self.register_buffer("combinations", torch.tensor(values), persistent=False)

    @classmethod
    def complete(cls, settings: Json, image_shape: ImageShape) -> Json:
        """Fill in the network; there must be labelled latents, few enough to enumerate, and a free one.

        Raises:
            UserError: there are not, or the network does not take the images.
        """
        classes, latents = settings["classes"], settings["latents"]
        given = f"objective.classes={classes}"
        if not classes:
            raise UserError(given, "must name the labelled latents", "give their numbers of classes, such as [3, 6]")
        if math.prod(classes) > MOST_COMBINATIONS:
            remedy = "label fewer latents"
            raise UserError(given, f"must have at most {MOST_COMBINATIONS} combinations to enumerate", remedy)
        if len(classes) >= latents:
            raise UserError(given, f"must leave a free one of objective.latents={latents}", "raise the latents")
        return super().complete(settings, image_shape)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return class logits (B, sum of classes), and mean and log sigma of the free latents (B, F)."""
        units = sum(self.classes)
        logits, mean, log_sigma = self.encoder(images).split([units, self.free, self.free], dim=1)
        return logits, mean, log_sigma

    def classify(self, logits: Tensor, z: Tensor) -> list[Tensor]:
        """Return log q(y|x, z) of each labelled latent: (..., classes) for logits (B, units) and z (..., B, F)."""
        shape = (*z.shape[:-1], logits.shape[-1])
        logits = logits.expand(shape) if self.link is None else logits + self.link(z)
        return [part.log_softmax(-1) for part in torch.split(logits, self.classes, dim=-1)]

    def steady(self, step: int) -> bool:
        """Return false: how many combinations a batch is enumerated over depends on its labels."""
        return False

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return the negative objective per image, for the one optimiser ``model``."""
        images, beta = batch.images, self.values["beta"]
        known, labels = self._known(batch)
        labelled = known.any(1)
        logits, mean, log_sigma = self.posterior(images)
        shape = (self.options["samples"], *mean.shape)
        z = mean + torch.exp(log_sigma) * normal(shape, generator, mean)
        beliefs = self.classify(logits, z)
        log_weight = self._log_weight(beliefs, known, labels)
        share = log_weight.softmax(0)
        agree = (~known.unsqueeze(1) | (self.combinations == labels.unsqueeze(1))).all(2)
        sample, image, combination = agree.expand(shape[0], -1, -1).nonzero(as_tuple=True)
        log_rest = self._log_rest(beliefs, known)[sample, image, combination]
        codes = torch.cat([self.units.one_hot(self.combinations[combination]), z[sample, image]], 1)
        nll = negative_log_likelihoods(self.options["likelihood"], self.decoder(codes), images[image])
        divergence = self._divergence(z, mean, log_sigma) + log_weight + math.log(math.prod(self.classes))
        part = share[sample, image] * log_rest.exp()
        bound = part * (-nll - beta * (divergence[sample, image] + log_rest))
        value = images.new_zeros(len(images)).index_add(0, image, bound)
        value = value + (beta + self.values["alpha"]) * log_weight.mean(0)
        loss = -torch.where(labelled, self.values["gamma"] * value, value).mean()
        count = labelled.sum().clamp_min(1)
        size = share.square().sum(0).reciprocal()
        terms = {
            "reconstruction": (part * nll).sum().detach() / len(images),
            "label_nll": -log_weight.mean(0).sum().detach() / count,
            "effective_samples": torch.where(labelled, size, 0.0).sum().detach() / count,
        }
        return {"model": LossTerms(loss, terms)}

    def _known(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return which labels are known (B, L) and their values, 0 where they are not."""
        if batch.labels is None or batch.label_mask is None:
            shape = (len(batch.images), len(self.classes))
            return torch.zeros(shape, dtype=torch.bool, device=batch.images.device), self.combinations.new_zeros(shape)
        return batch.label_mask, torch.where(batch.label_mask, batch.labels, 0)

    def _log_weight(self, beliefs: list[Tensor], known: Tensor, labels: Tensor) -> Tensor:
        """Log q(known labels | x, z), (S, B); 0 where none is known."""
        parts = []
        for column, belief in enumerate(beliefs):
            index = labels[:, column].expand(belief.shape[0], -1).unsqueeze(2)
            parts.append(torch.where(known[:, column], belief.gather(2, index).squeeze(2), 0.0))
        return torch.stack(parts).sum(0)

    def _log_rest(self, beliefs: list[Tensor], known: Tensor) -> Tensor:
        """Log q of the unknown labels' values in each combination, (S, B, combinations)."""
        parts = []
        for column, belief in enumerate(beliefs):
            values = belief[:, :, self.combinations[:, column]]
            parts.append(torch.where(known[:, column].unsqueeze(1), 0.0, values))
        return torch.stack(parts).sum(0)

    def _divergence(self, z: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
        """KL of the free latents, (S, B): in closed form, or sampled where the samples are weighted."""
        if self.link is None:
            return kl_per_latent(mean, log_sigma).sum(1).expand(z.shape[0], -1)
        return (log_normal(z, mean, log_sigma) - log_prior(z)).sum(2)

    def represent(self, images: Tensor) -> Representation:
        """Encode (B, C, H, W) images in 0 to 1.

        A labelled latent's code is its expected class, its sigma the deviation of the class, and its information
        KL(q(y|x) || uniform).
        """
        logits, mean, log_sigma = self.posterior(images)
        codes, deviations, information = [], [], []
        for belief, size in zip(self.classify(logits, mean), self.classes, strict=True):
            ids = torch.arange(size, dtype=mean.dtype, device=mean.device)
            expected = belief.exp() @ ids
            variance = (belief.exp() * (ids - expected.unsqueeze(1)).square()).sum(1)
            codes.append(expected.unsqueeze(1))
            deviations.append(0.5 * variance.clamp_min(1e-12).log().unsqueeze(1))
            information.append((belief.exp() * (belief + math.log(size))).sum(1).mean().clamp_min(0).unsqueeze(0))
        divergence = kl_per_latent(mean, log_sigma).mean(0)
        return Representation(
            torch.cat([*codes, mean], 1), torch.cat([*deviations, log_sigma], 1), torch.cat([*information, divergence])
        )

    def decode(self, codes: Tensor) -> Tensor:
        """Decode (B, Z) codes to (B, C, H, W) images in 0 to 1; labelled latents are rounded to a class."""
        return torch.sigmoid(self.decoder(self.units(codes)))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return one Adam over everything."""
        return {"model": torch.optim.Adam(self.parameters(), lr=self.values["lr"], fused=True)}
