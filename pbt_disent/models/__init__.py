"""Objectives, networks and trained models."""

from __future__ import annotations

from pbt_disent.models.build import build
from pbt_disent.models.contract import OBJECTIVES, Objective, ObjectiveOptions
from pbt_disent.models.latent_model import LatentModel

__all__ = ["OBJECTIVES", "LatentModel", "Objective", "ObjectiveOptions", "build"]
