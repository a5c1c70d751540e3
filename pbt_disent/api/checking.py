"""Whether a config fits its data, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from pbt_disent import data as data_module
from pbt_disent.config import Config, ObjectiveConfig
from pbt_disent.data.base import ImageData
from pbt_disent.data.splits import split
from pbt_disent.data.storage import Progress
from pbt_disent.errors import UserError
from pbt_disent.metrics import MINIMUM_POINTS
from pbt_disent.models import OBJECTIVES, ResolvedObjective, resolve
from pbt_disent.rounds.populations import RECURSIVE
from pbt_disent.rounds.recursion import FEWEST_IMAGES
from pbt_disent.rounds.spending import check_budget
from pbt_disent.training.given import labelled_factors, with_classes

__all__ = ["check"]


def check(config: Config, progress: Progress | None = None) -> tuple[ImageData, tuple[ResolvedObjective, ...]]:
    """Open the data and check the objectives, the labels and the budget against it, before anything is written.

    Args:
        config: of the run.
        progress: as for `pbt_disent.data.load`.

    Raises:
        UserError: the data cannot be read or are too few, or an objective, its labels or the budget do not fit them.
    """
    data = data_module.load(config.data.name, progress, **config.data.options)
    if len(data) < 2:
        raise UserError(f"data {config.data.name}", f"must have at least 2 images, not {len(data)}", "add images")
    sections = [with_classes(one, config.supervision, data) for one in config.objectives]
    objectives = tuple(resolve(section, data.shape) for section in sections)
    taught = [resolve(_with_any_class(one), data.shape) for one in (config.final.objective,) if one is not None]
    if config.method == "pbt-vae":
        labelled_factors(config.supervision, data, enumerated=False)
    size = len(split(len(data), config.data.held_out)[0]) if config.data.held_out else len(data)
    _check_size(config, size, [*objectives, *taught])
    check_budget(config, size)
    return data, objectives


def _with_any_class(objective: ObjectiveConfig) -> ObjectiveConfig:
    """Return the final objective's section as it may be once labels are found: how many classes is known only then."""
    if "classes" not in OBJECTIVES[objective.name].settings or objective.values.get("classes"):
        return objective
    return ObjectiveConfig(name=objective.name, **{**objective.values, "classes": [2]})


def _check_size(config: Config, size: int, objectives: Sequence[ResolvedObjective]) -> None:
    """Check that models can be ranked by so many images: no score has a meaning on fewer points than latents."""
    fewest = MINIMUM_POINTS if config.method in (*RECURSIVE, "pbt-vae") else FEWEST_IMAGES
    least = max(fewest, *(int(one.settings["latents"]) for one in objectives))
    if size < least:
        raise UserError(
            f"data {config.data.name}",
            f"has {size} images to train on, where at least {least} are needed to rank models",
            "add images, or lower objective.latents" if least > fewest else "add images",
        )
