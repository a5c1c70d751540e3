"""What every objective offers to training, scoring and serving.

An objective is a `torch.nn.Module` that owns its networks and says what is minimised. Its nested class ``Options``
declares its options and hyperparameters. The module is built afresh for each task from these options, the member's
hyperparameters, the image shape and the number of images it trains on; its state then comes from a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pbt_disent.config import Hyperparameter
from pbt_disent.models.networks import ImageShape
from pbt_disent.registry import Choice, Component, OptionError, Registry
from pbt_disent.types import Hyperparameters, Json

__all__ = [
    "OBJECTIVES",
    "Batch",
    "LossTerms",
    "Objective",
    "ObjectiveOptions",
    "Optimizers",
    "Representation",
    "hyperparameter",
    "load_options",
]

Optimizers = dict[str, torch.optim.Optimizer]


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Args:
        images: The images, (B, C, H, W) float32 in 0 to 1.
        labels: The class ids, (B, L) int64, or None.
        label_mask: Which labels are known, (B, L) bool, or None.
        partner: The second image of each pair, (B, C, H, W), for weak supervision, or None.
    """

    images: Tensor
    labels: Tensor | None = None
    label_mask: Tensor | None = None
    partner: Tensor | None = None

    @property
    def num_images(self) -> int:
        """The number of images that pass through a model in a step on this batch, partners included."""
        return len(self.images) + (0 if self.partner is None else len(self.partner))


@dataclass(frozen=True)
class LossTerms:
    """A scalar to minimise, and what explains it.

    Args:
        loss: The scalar that is minimised.
        terms: The detached scalars that explain the loss by name, in nats per image unless named otherwise.
    """

    loss: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class Representation:
    """The codes of a batch and what the encoder says about them.

    Args:
        mean: The posterior means, which are the codes, (B, Z).
        log_sigma: The logarithms of the posterior's standard deviations, (B, Z), or None where the encoder has none.
        information: The information of each latent in nats, averaged over the batch, (Z,).
    """

    mean: Tensor
    log_sigma: Tensor | None
    information: Tensor


def hyperparameter(
    default: float,
    low: float,
    high: float,
    *,
    log: bool = True,
    integer: bool = False,
    optional: bool = False,
    description: str,
) -> Any:
    """Declare a hyperparameter of an objective, as a field of its options.

    >>> class Options(ObjectiveOptions):
    ...     beta: Hyperparameter = hyperparameter(4, 1, 500, description="The weight of the KL divergence.")
    >>> Options().defaults
    {'lr': 0.001, 'batch_size': 128.0, 'beta': 4.0}

    Args:
        default: The value where a config gives none.
        low: The lowest value that a search may take.
        high: The highest value that a search may take.
        log: Whether the search goes by the logarithm of the value.
        integer: Whether the value is a whole number.
        optional: Whether the value may be fixed at 0, which takes its term out of the loss.
        description: A sentence that says what the value is.
    """
    declared = Hyperparameter(default=default, low=low, high=high, log=log, integer=integer, optional=optional)
    return Field(declared, description=description)


class ObjectiveOptions(Component):
    """The options of an objective: settings, which all members share, and hyperparameters, which may be searched."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """The optional fields of `Batch` without which it cannot train: ``labels`` (with their mask), ``partner``."""

    latents: int = Field(10, ge=1, le=512, description="The number of latents.")
    network: Annotated[Any, Choice("network", "auto")] = Field(
        "auto", validate_default=True, description="The encoder and decoder; auto goes by the size of the images."
    )
    lr_schedule: Annotated[Any, Choice("schedule", "constant")] = Field(
        "constant",
        validate_default=True,
        description="How the learning rates change over the steps of a member's life.",
    )
    lr: Hyperparameter = hyperparameter(1e-3, 1e-6, 1e-2, description="The learning rate.")
    batch_size: Hyperparameter = hyperparameter(
        128, 16, 1024, integer=True, description="The number of images in a batch."
    )

    @model_validator(mode="before")
    @classmethod
    def _narrow(cls, values: Any) -> Any:
        """Turn what a config says of a hyperparameter into the narrowed declaration."""
        if not isinstance(values, dict):
            return values
        narrowed = dict(values)
        for name, value in values.items():
            field = cls.model_fields.get(name)
            if field is not None and isinstance(field.default, Hyperparameter):
                try:
                    narrowed[name] = field.default.narrow(value)
                except OptionError as error:
                    raise error.within(name) from None
        return narrowed

    @property
    def hyperparameters(self) -> dict[str, Hyperparameter]:
        """All hyperparameters by name, fixed and searched."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, Hyperparameter)}

    @property
    def space(self) -> dict[str, Hyperparameter]:
        """The hyperparameters that are searched, with their bounds."""
        return {name: declared for name, declared in self.hyperparameters.items() if not declared.is_fixed}

    @property
    def fixed(self) -> Hyperparameters:
        """The values of the hyperparameters that all members share."""
        return {name: declared.default for name, declared in self.hyperparameters.items() if declared.is_fixed}

    @property
    def defaults(self) -> Hyperparameters:
        """The default value of every hyperparameter."""
        return {name: declared.default for name, declared in self.hyperparameters.items()}

    @property
    def settings(self) -> Json:
        """All options that are no hyperparameters, as plain values."""
        return {option: value for option, value in self.dump().items() if option not in {"name", *self.hyperparameters}}

    def with_defaults(self) -> Self:
        """Return the options with every hyperparameter fixed at its default, so that nothing is searched."""
        fixed = {name: declared.fixed_at(declared.default) for name, declared in self.hyperparameters.items()}
        return self.model_copy(update=fixed)

    def with_classes(self, sizes: Sequence[int], names: Sequence[str] = ()) -> Self:
        """Return the options for labels with these numbers of classes; most objectives have no labelled latents.

        Args:
            sizes: The number of classes of each label.
            names: The names of the labels, for messages.

        Raises:
            UserError: The options do not fit the labels.
        """
        del sizes, names
        return self

    def resolve(self, image_shape: ImageShape) -> Self:
        """Return the options with everything filled in that depends on the images.

        Args:
            image_shape: The shape (C, H, W) of an image.

        Raises:
            UserError: The options contradict each other or the shape of the images.
        """
        return self.model_copy(update={"network": self.network.resolve(image_shape)})

    @property
    def stacking_obstacle(self) -> str:
        """Why replicas with these options cannot train as one stacked model; empty where they can."""
        return ""


class Objective(nn.Module):
    """Base class of every objective. A subclass declares its options in a nested class ``Options``.

    >>> from pbt_disent.models import build
    >>> options = OBJECTIVES.options("betavae")(latents=2).resolve((1, 32, 32))
    >>> objective = build(options, options.defaults, (1, 32, 32), 1000, generator=torch.Generator().manual_seed(0))
    >>> losses = objective.losses(Batch(torch.zeros(8, 1, 32, 32)), 0, torch.Generator().manual_seed(0))
    >>> sorted(losses["model"].terms)
    ['elbo', 'kl', 'reconstruction']

    Args:
        options: The options, as `ObjectiveOptions.resolve` returns them.
        hyperparameters: This member's values, one for each hyperparameter that the options declare.
        image_shape: The shape (C, H, W) of an image.
        dataset_size: The number of images in the set that is trained on.
    """

    class Options(ObjectiveOptions):
        """The options that all objectives share."""

    def __init__(
        self,
        options: Any,
        hyperparameters: Hyperparameters,
        image_shape: ImageShape,
        dataset_size: int,
    ) -> None:
        super().__init__()
        self.options = options
        self.values = hyperparameters
        self.image_shape = image_shape
        self.dataset_size = dataset_size

    def is_capturable(self, step: int) -> bool:
        """Return whether from this step of the member's life on every step is the same work for a device.

        Then a GPU may capture one step as a CUDA graph and replay it: nothing but the batch, the noise and the
        parameters changes, every shape is the same, no value is read back, and all terms lie on the device.
        """
        return True

    def losses(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return what each optimiser minimises on a batch, by the optimiser's name.

        Args:
            batch: The batch.
            step: The number of steps that the member has taken in its life, its ancestors' included.
            generator: The random stream of all that is drawn.
        """
        raise NotImplementedError

    def forward(self, batch: Batch, step: int, generator: torch.Generator) -> dict[str, LossTerms]:
        """Return `losses`, under the name by which torch calls a module."""
        return self.losses(batch, step, generator)

    def finalize(self, batches: Iterable[Tensor]) -> None:
        """After the last step of a generation, fit what depends on the whole set; most objectives need nothing.

        The module is in evaluation mode.

        Args:
            batches: Training images, (B, C, H, W) in 0 to 1, a random part of the set.
        """

    def represent(self, images: Tensor) -> Representation:
        """Encode images; the module is in evaluation mode.

        Args:
            images: The images, (B, C, H, W) in 0 to 1.
        """
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """Decode (B, Z) codes to (B, C, H, W) images in 0 to 1."""
        raise NotImplementedError

    def optimizers(self) -> Optimizers:
        """Return the optimisers by name, over disjoint parameters; by default one Adam over everything."""
        return {"model": torch.optim.Adam(self.parameters(), lr=self.values["lr"], fused=True)}


OBJECTIVES: Registry[type[Objective]] = Registry("objective", "pbt_disent.models.objectives")


def load_options(name: str, settings: Json) -> ObjectiveOptions:
    """Return the options of an objective from its name and its settings, as a checkpoint holds them.

    >>> load_options("betavae", {"latents": 3}).latents
    3

    Args:
        name: The name of the objective.
        settings: Options by name; the others have their defaults.

    Raises:
        UserError: There is no such objective.
        ValueError: The settings are not those of this objective.
    """
    return cast("ObjectiveOptions", OBJECTIVES[name].Options.model_validate(settings))
