"""From the objective section of a config to a checked choice: what is fixed, what is searched, in which bounds."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError

from pbt_disent.config import Mutable, ObjectiveConfig
from pbt_disent.errors import UserError, nearest
from pbt_disent.models.contract import OBJECTIVES, Objective
from pbt_disent.models.initialise import initialise
from pbt_disent.models.networks import ImageShape
from pbt_disent.models.networks.layout import channels_last
from pbt_disent.types import Hyperparameters, Json

__all__ = ["ResolvedObjective", "build", "resolve"]


@dataclass(frozen=True)
class ResolvedObjective:
    """An objective, complete and checked.

    Args:
        name: of the objective.
        settings: every setting, the network and its width by name and number.
        fixed: the hyperparameters that all members share.
        space: the hyperparameters that are searched, with their bounds.
    """

    name: str
    settings: Json
    fixed: Hyperparameters
    space: dict[str, Mutable]

    def complete(self, searched: Hyperparameters) -> Hyperparameters:
        """Return a member's full hyperparameters from the searched ones."""
        return {**self.fixed, **searched}


def resolve(objective: ObjectiveConfig, image_shape: ImageShape) -> ResolvedObjective:
    """Check the objective's section against what that objective declares, and fill in the rest.

    A hyperparameter given as a number is fixed, one given as ``{low, high}`` is searched within these, one given as
    ``{choices: [...]}`` is one of them, and one that is not given is searched within its declared bounds.

    Raises:
        UserError: unknown objective, key or choice, a value out of bounds, or a network that does not take the images.
    """
    kind = OBJECTIVES[objective.name]
    settings: Json = {name: copy(setting.default) for name, setting in kind.settings.items()}
    space, fixed = dict(kind.hyperparameters), dict[str, float]()
    for key, value in objective.values.items():
        name = f"objective.{key}"
        if key in kind.settings:
            settings[key] = kind.settings[key].check(name, value)
        elif key not in kind.hyperparameters:
            known = [*kind.settings, *kind.hyperparameters]
            raise UserError(f"key {name!r}", f"is unknown to {objective.name}", nearest(key, known))
        elif isinstance(value, dict):
            space[key] = _narrow(name, value, kind.hyperparameters[key])
        else:
            off = key in kind.optional and value == 0 and not isinstance(value, bool)
            fixed[key] = 0.0 if off else _number(name, value, kind.hyperparameters[key])
            del space[key]
    return ResolvedObjective(objective.name, kind.complete(settings, image_shape), fixed, space)


def build(
    name: str,
    settings: Json,
    hyperparameters: Hyperparameters,
    image_shape: ImageShape,
    dataset_size: int,
    *,
    generator: torch.Generator | None = None,
) -> Objective:
    """Build an objective from resolved settings; torch's global random state is left as it was.

    Convolution weights are laid out channels-last, which suits the convolutions of CPUs.

    Args:
        name: of the objective.
        settings: complete, as from `resolve`.
        hyperparameters: complete: one value for each that the objective declares.
        image_shape: (C, H, W).
        dataset_size: number of images in the set that is trained on.
        generator: draws the first weights; none where the weights will come from a checkpoint.
    """
    with torch.random.fork_rng(devices=[]):
        objective = OBJECTIVES[name](settings, hyperparameters, image_shape, dataset_size)
    if generator is not None:
        initialise(objective, generator)
    for parameter in objective.parameters():
        if parameter.dim() == 4:
            parameter.data = channels_last(parameter.data)
    return objective


def _number(name: str, value: Any, declared: Mutable) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{name}={value!r}", "must be a number or a mapping with low and high", _example(declared))
    if not declared.low <= value <= declared.high:
        raise UserError(f"{name}={value:g}", f"must be in {declared.low:g} to {declared.high:g}", _example(declared))
    if declared.integer and value != int(value):
        raise UserError(f"{name}={value:g}", "must be a whole number", _example(declared))
    return float(value)


def _narrow(name: str, given: dict[str, Any], declared: Mutable) -> Mutable:
    for key in given:
        if key not in {"low", "high", "default", "choices"}:
            raise UserError(f"key '{name}.{key}'", "is unknown", nearest(key, ["low", "high", "default", "choices"]))
    if "choices" in given:
        return _choose(name, given, declared)
    low = _number(f"{name}.low", given.get("low", declared.low), declared)
    high = _number(f"{name}.high", given.get("high", declared.high), declared)
    if low > high:
        raise UserError(f"{name}: low={low:g}, high={high:g}", "low must not exceed high", "exchange the two")
    default = given.get("default", min(max(declared.default, low), high))
    default = _number(f"{name}.default", default, declared)
    try:
        return Mutable(default=default, low=low, high=high, log=declared.log, integer=declared.integer)
    except ValidationError:
        raise UserError(f"{name}.default={default:g}", f"must be in {low:g} to {high:g}", "leave it out") from None


def _choose(name: str, given: dict[str, Any], declared: Mutable) -> Mutable:
    if {"low", "high"} & given.keys() or not isinstance(given["choices"], list) or not given["choices"]:
        raise UserError(f"{name}={given}", "must have choices alone, a list of numbers", _example(declared))
    choices = tuple(sorted({_number(f"{name}.choices", value, declared) for value in given["choices"]}))
    default = given.get("default", min(choices, key=lambda value: abs(value - declared.default)))
    if default not in choices:
        raise UserError(f"{name}.default={default}", f"must be one of {list(choices)}", "leave it out")
    bounds = {"low": choices[0], "high": choices[-1], "log": declared.log, "integer": declared.integer}
    return Mutable(default=default, choices=choices, **bounds)


def _example(declared: Mutable) -> str:
    return f"for example {declared.default:g}, or {{low: {declared.low:g}, high: {declared.high:g}}}"
