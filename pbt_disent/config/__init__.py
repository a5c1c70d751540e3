"""The configuration of a run: a frozen tree, read from a preset or a YAML file, with single values set by hand.

Unknown keys are errors that name the nearest known one. The resolved tree is written into every run folder and its
hash into everything that the run publishes. What can be chosen by name in it is a component, which owns its options.
"""

from __future__ import annotations

from pbt_disent.config.hyperparameter import Hyperparameter
from pbt_disent.config.reading import load_config, override, preset_names, read_yaml, validate, write_yaml
from pbt_disent.config.sections import (
    DataConfig,
    FinalConfig,
    ImageStorage,
    PopulationConfig,
    ReplayConfig,
    ReplicasMode,
    ResourcesConfig,
    RoundsConfig,
    SupervisionConfig,
    TrackingConfig,
)
from pbt_disent.config.tree import RECURSIVE, Config

__all__ = [
    "RECURSIVE",
    "Config",
    "DataConfig",
    "FinalConfig",
    "Hyperparameter",
    "ImageStorage",
    "PopulationConfig",
    "ReplayConfig",
    "ReplicasMode",
    "ResourcesConfig",
    "RoundsConfig",
    "SupervisionConfig",
    "TrackingConfig",
    "load_config",
    "override",
    "preset_names",
    "read_yaml",
    "validate",
    "write_yaml",
]
