"""Trained and trainable models: objectives and networks by name, and `LatentModel`, which serves a trained one."""

from __future__ import annotations

from pbt_disent.models.contract import OBJECTIVES, Objective
from pbt_disent.models.latent_model import LatentModel
from pbt_disent.models.resolve import ResolvedObjective, build, resolve

__all__ = ["OBJECTIVES", "LatentModel", "Objective", "ResolvedObjective", "build", "resolve"]
