"""What every objective offers to training, scoring and serving (design decision 4).

An objective is a `torch.nn.Module` that owns its networks and says what is minimised. It is built fresh for each
task from its settings, the member's hyperparameters, the image shape and the number of images it trains on; its
state then comes from a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pbt_disent.config import Mutable
from pbt_disent.models.networks import NETWORKS, choose
from pbt_disent.models.settings import Setting
from pbt_disent.registry import Registry
from pbt_disent.types import Hyperparameters

__all__ = ["OBJECTIVES", "Batch", "LossTerms", "Objective", "Optimizers", "Representation"]

Optimizers = dict[str, torch.optim.Optimizer]


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Args:
        images: (B, C, H, W) float32 in 0 to 1.
        labels: (B, L) int64 class ids, or none.
        label_mask: (B, L) bool, true where a label is known, or none.
        partner: (B, C, H, W) second image of each pair, for weak supervision, or none.
    """

    images: Tensor
    labels: Tensor | None = None
    label_mask: Tensor | None = None
    partner: Tensor | None = None

    @property
    def shown(self) -> int:
        """Images that pass through a model that takes a step on it."""
        return len(self.images) + (0 if self.partner is None else len(self.partner))


@dataclass(frozen=True)
class LossTerms:
    """A scalar to minimise and the detached scalars that explain it (nats per image unless named otherwise)."""

    loss: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class Representation:
    """What an encoder says about a batch.

    Args:
        mean: (B, Z) posterior means, the codes.
        log_sigma: (B, Z) log standard deviations, or none where the encoder has none.
        information: (Z,) nats per latent, averaged over the batch.
    """

    mean: Tensor
    log_sigma: Tensor | None
    information: Tensor


class Objective(nn.Module):
    """Base class of every objective. Subclasses declare their hyperparameters and settings as class attributes.

    Args:
        settings: fixed settings (latents, estimator, network, ...), already complete and checked.
        hyperparameters: this member's values, one for each name in `hyperparameters`.
        image_shape: (C, H, W).
        dataset_size: number of images in the set that is trained on.
    """

    hyperparameters: ClassVar[dict[str, Mutable]]
    """Name -> default, bounds and scale; must contain `lr` and `batch_size`."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """The hyperparameters that may be fixed at 0, below their bounds, to take their term out of the loss."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """The optional fields of `Batch` without which it cannot train: ``labels`` (with their mask), ``partner``."""
    settings: ClassVar[dict[str, Setting]]
    """Name -> declaration of each fixed setting; must contain `latents`, `network` and `network_width`."""

    def __init__(
        self,
        settings: dict[str, Any],
        hyperparameters: Hyperparameters,
        image_shape: tuple[int, int, int],
        dataset_size: int,
    ) -> None:
        super().__init__()
        self.values = hyperparameters
        self.options = settings
        self.image_shape = image_shape
        self.dataset_size = dataset_size

    @classmethod
    def complete(cls, settings: dict[str, Any], image_shape: tuple[int, int, int]) -> dict[str, Any]:
        """Return settings with everything filled in that depends on the images; called once, before anything else.

        Args:
            settings: one value for each declared setting, each checked on its own.
            image_shape: (C, H, W).

        Raises:
            UserError: the settings contradict each other or the shape of the images.
        """
        network = choose(settings["network"], image_shape)
        width = settings["network_width"] or NETWORKS[network].width
        return {**settings, "network": network, "network_width": width}

    @classmethod
    def loop_only(cls, settings: dict[str, Any]) -> str:
        """Return why replicas with these settings cannot train as one stacked model; empty where they can."""
        return ""

    def steady(self, step: int) -> bool:
        """Return whether from this step of the member's life on every step is the same work for a device.

        Then a GPU may record one and replay it: nothing but the batch, the noise and the parameters changes, every
        shape is the same, no value is read back, and all terms lie on the device.
        """
        return True

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return, for each optimiser name, what it minimises on this batch at this step of the member's life."""
        raise NotImplementedError

    def forward(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return `losses`, under the name by which torch calls a module."""
        return self.losses(batch, step, generator)

    def settle(self, batches: Iterable[Tensor]) -> None:
        """After the last step of a generation, fix what depends on the whole set; most objectives need nothing.

        Args:
            batches: (B, C, H, W) training images in 0 to 1, a random part of the set; the module is in evaluation mode.
        """

    def represent(self, images: Tensor) -> Representation:
        """Encode (B, C, H, W) images in 0 to 1; the module is in evaluation mode."""
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """Decode (B, Z) codes to (B, C, H, W) images in 0 to 1."""
        raise NotImplementedError

    def optimizers(self) -> Optimizers:
        """Return the optimisers by name, over disjoint parameters, with this member's learning rates."""
        raise NotImplementedError


OBJECTIVES: Registry[type[Objective]] = Registry("objective", "pbt_disent.models.objectives")
