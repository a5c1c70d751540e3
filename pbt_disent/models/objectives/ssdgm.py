"""Semi-supervised deep generative model: labelled latents beside free ones (Siddharth et al. 2017, arXiv 1706.00400).

Labelled latents are categorical and enumerated, free ones Gaussian. An image with known labels is a sum over the
values that agree with them, so unlabelled, partly and fully labelled images share one formula.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from pbt_disent.config import Hyperparameter
from pbt_disent.errors import UserError
from pbt_disent.models.contract import OBJECTIVES, Batch, LossTerms, Objective, Representation, hyperparameter
from pbt_disent.models.gaussian_vae import kl_per_latent, log_normal, log_prior
from pbt_disent.models.networks import ImageShape
from pbt_disent.models.noise import normal
from pbt_disent.registry import Choice
from pbt_disent.types import Hyperparameters

__all__ = ["SSDGM", "ClassUnits"]

MAX_COMBINATIONS = 256
"""The largest number of combinations of classes that is enumerated for an image."""


class ClassUnits(nn.Module):
    """Codes (B, Z), of which the first are classes, to units (B, sum of sizes + free latents); it has no weights.

    >>> ClassUnits([3, 2])(torch.tensor([[2.2, 0.0, 0.7]]))
    tensor([[0.0000, 0.0000, 1.0000, 1.0000, 0.0000, 0.7000]])

    Args:
        sizes: The number of classes of each labelled latent.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)

    def forward(self, codes: Tensor) -> Tensor:
        """Round the labelled latents to a class that exists, and leave the free ones as they are."""
        labelled, free = codes[:, : len(self.sizes)], codes[:, len(self.sizes) :]
        last = torch.tensor(self.sizes, device=codes.device, dtype=codes.dtype) - 1
        return torch.cat([self.one_hot(torch.minimum(labelled.round().clamp_min(0), last).long()), free], 1)

    def one_hot(self, classes: Tensor) -> Tensor:
        """Return class ids (B, L) as units (B, sum of sizes).

        Torch's own function would look at the ids, and so wait for a device.
        """
        ids = [torch.arange(size, device=classes.device) for size in self.sizes]
        units = [classes[:, column, None] == column_ids for column, column_ids in enumerate(ids)]
        return torch.cat(units, 1).to(torch.float32)


@OBJECTIVES.register("ssdgm")
class SSDGM(Objective):
    """Maximises the sum of L(x) over unlabelled and gamma * Lsup(x, y) over labelled images.

    L is the ELBO with the labels enumerated; Lsup is self-normalised over S samples z ~ q(z|x) with weights
    q(y|x, z), plus (beta + alpha) times the mean log weight, a bound of log q(y|x). `beta` weighs all that is no
    likelihood of pixels. Codes are the expected class of each labelled latent, then the free latents.
    """

    class Options(Objective.Options):
        """The options of the semi-supervised model."""

        needs: ClassVar[frozenset[str]] = frozenset({"labels"})

        latents: int = Field(10, ge=2, le=512, description="The number of latents, labelled ones included.")
        alpha: Hyperparameter = hyperparameter(
            0.1, 0.01, 10_000, optional=True, description="The additional weight of the classification loss."
        )
        gamma: Hyperparameter = hyperparameter(
            1, 0.01, 1000, optional=True, description="The weight of labelled images."
        )
        beta: Hyperparameter = hyperparameter(
            1, 0.5, 500, description="The weight of everything that is no likelihood of pixels."
        )
        classes: tuple[Annotated[int, Field(ge=1, le=256)], ...] = Field(
            (),
            strict=False,
            description="The number of classes of each labelled latent, such as [3, 6]; the default is taken from the "
            "labels.",
        )
        samples: int = Field(
            1, ge=1, le=64, description="The number of samples of the free latents for each image (S)."
        )
        labels_see_latents: bool = Field(
            False, description="Whether q(y|x, z) depends on z; then the weights of the samples are no longer equal."
        )
        likelihood: Annotated[Any, Choice("likelihood", "bernoulli")] = Field(
            "bernoulli", validate_default=True, description="The distribution of a pixel."
        )

        def with_classes(self, sizes: Sequence[int], names: Sequence[str] = ()) -> Self:
            """Return the options with the numbers of classes filled in, where the config does not give them.

            Raises:
                UserError: The config gives other numbers.
            """
            if not self.classes:
                return self.model_copy(update={"classes": tuple(sizes)})
            if len(self.classes) != len(sizes) or any(a < b for a, b in zip(self.classes, sizes, strict=True)):
                labels = ", ".join(f"{name} ({size})" for name, size in zip(names, sizes, strict=False))
                raise UserError(
                    f"objective.classes={list(self.classes)}",
                    f"must have room for each of the labels {labels}",
                    "leave it out, or name others in supervision.factors",
                )
            return self

        def resolve(self, image_shape: ImageShape) -> Self:
            """Fill in the network; there must be labelled latents, few enough to enumerate, and a free one.

            Raises:
                UserError: There are not, or the network does not take the images.
            """
            option = f"objective.classes={list(self.classes)}"
            if not self.classes:
                remedy = "give their numbers of classes, such as [3, 6]"
                raise UserError(option, "must name the labelled latents", remedy)
            if math.prod(self.classes) > MAX_COMBINATIONS:
                rule = f"must have at most {MAX_COMBINATIONS} combinations to enumerate"
                raise UserError(option, rule, "label fewer latents")
            if len(self.classes) >= self.latents:
                rule = f"must leave a free one of objective.latents={self.latents}"
                raise UserError(option, rule, "raise the latents")
            return super().resolve(image_shape)

    options: Options

    combinations: Tensor

    def __init__(
        self, options: Options, hyperparameters: Hyperparameters, image_shape: ImageShape, dataset_size: int
    ) -> None:
        super().__init__(options, hyperparameters, image_shape, dataset_size)
        self.classes = [int(size) for size in options.classes]
        self.free = int(options.latents) - len(self.classes)
        network, units = options.network, sum(self.classes)
        self.encoder = network.encoder(image_shape, units + 2 * self.free)
        self.decoder = network.decoder(image_shape, units + self.free)
        self.units = ClassUnits(self.classes)
        self.link = nn.Linear(self.free, units, bias=False) if options.labels_see_latents else None
        values = list(itertools.product(*map(range, self.classes)))
        self.register_buffer("combinations", torch.tensor(values), persistent=False)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return class logits (B, sum of classes), and mean and log sigma of the free latents (B, F)."""
        units = sum(self.classes)
        logits, mean, log_sigma = self.encoder(images).split([units, self.free, self.free], dim=1)
        return logits, mean, log_sigma

    def classify(self, logits: Tensor, z: Tensor) -> list[Tensor]:
        """Return log q(y|x, z) of each labelled latent, (..., B, classes).

        Args:
            logits: The class logits, (B, sum of classes).
            z: The free latents, (..., B, F).
        """
        shape = (*z.shape[:-1], logits.shape[-1])
        logits = logits.expand(shape) if self.link is None else logits + self.link(z)
        return [part.log_softmax(-1) for part in torch.split(logits, self.classes, dim=-1)]

    def is_capturable(self, step: int) -> bool:
        """Return false: how many combinations a batch is enumerated over depends on its labels."""
        return False

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return the negative objective per image, for the one optimiser ``model``."""
        images, beta = batch.images, self.values["beta"]
        mask, labels = self._labels(batch)
        labelled = mask.any(1)
        logits, mean, log_sigma = self.posterior(images)
        shape = (self.options.samples, *mean.shape)
        z = mean + torch.exp(log_sigma) * normal(shape, generator, mean)
        beliefs = self.classify(logits, z)
        log_weight = self._log_weight(beliefs, mask, labels)
        share = log_weight.softmax(0)
        agree = (~mask.unsqueeze(1) | (self.combinations == labels.unsqueeze(1))).all(2)
        sample, image, combination = agree.expand(shape[0], -1, -1).nonzero(as_tuple=True)
        log_rest = self._log_rest(beliefs, mask)[sample, image, combination]
        codes = torch.cat([self.units.one_hot(self.combinations[combination]), z[sample, image]], 1)
        nll = self.options.likelihood.image_losses(self.decoder(codes), images[image])
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

    def _labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return which labels are known (B, L) and their values, 0 where they are not."""
        if batch.labels is None or batch.label_mask is None:
            shape = (len(batch.images), len(self.classes))
            return torch.zeros(shape, dtype=torch.bool, device=batch.images.device), self.combinations.new_zeros(shape)
        return batch.label_mask, torch.where(batch.label_mask, batch.labels, 0)

    def _log_weight(self, beliefs: list[Tensor], mask: Tensor, labels: Tensor) -> Tensor:
        """Return log q(known labels | x, z), (S, B); 0 where no label is known."""
        parts = []
        for column, belief in enumerate(beliefs):
            index = labels[:, column].expand(belief.shape[0], -1).unsqueeze(2)
            parts.append(torch.where(mask[:, column], belief.gather(2, index).squeeze(2), 0.0))
        return torch.stack(parts).sum(0)

    def _log_rest(self, beliefs: list[Tensor], mask: Tensor) -> Tensor:
        """Return log q of the unknown labels' values in each combination, (S, B, combinations)."""
        parts = []
        for column, belief in enumerate(beliefs):
            values = belief[:, :, self.combinations[:, column]]
            parts.append(torch.where(mask[:, column].unsqueeze(1), 0.0, values))
        return torch.stack(parts).sum(0)

    def _divergence(self, z: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
        """Return the KL of the free latents, (S, B): in closed form, or sampled where the samples are weighted."""
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
