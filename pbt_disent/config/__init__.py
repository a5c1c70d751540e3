"""The configuration of a run: a frozen tree, read from a preset or a YAML file, with single values set by hand.

Unknown keys are errors that name the nearest known one. The resolved tree is written into every run folder and its
hash into everything that the run publishes. What an objective accepts is declared by the objective itself; here its
section is a name and free values, which `pbt_disent.models.resolve` checks.
"""

from __future__ import annotations

from pbt_disent.config.mutable import Mutable
from pbt_disent.config.reading import load_config, override, preset_names, read_yaml, validate, write_yaml
from pbt_disent.config.sections import (
    DataConfig,
    FinalConfig,
    ImagesPlace,
    ObjectiveConfig,
    PopulationConfig,
    ReplayConfig,
    ReplicasMode,
    ResourcesConfig,
    RoundsConfig,
    SegmentationConfig,
    SupervisionConfig,
    TrackingConfig,
    UdrConfig,
)
from pbt_disent.config.tree import Config

__all__ = [
    "Config",
    "DataConfig",
    "FinalConfig",
    "ImagesPlace",
    "Mutable",
    "ObjectiveConfig",
    "PopulationConfig",
    "ReplayConfig",
    "ReplicasMode",
    "ResourcesConfig",
    "RoundsConfig",
    "SegmentationConfig",
    "SupervisionConfig",
    "TrackingConfig",
    "UdrConfig",
    "load_config",
    "override",
    "preset_names",
    "read_yaml",
    "validate",
    "write_yaml",
]
