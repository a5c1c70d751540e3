"""Runs from Python: prepare a run, execute it, and read its outcome.

>>> from pathlib import Path
>>> from pbt_disent.config import load_config
>>> from pbt_disent.population.events import Observers
>>> from pbt_disent.store.runs import create_run
>>> small = ["population.size=2", "population.max_generations=1", "population.image_passes_per_generation=100"]
>>> folder = create_run(load_config("demo", ["method=fixed", *small]), "demo", Path("runs"), None)
>>> outcome = execute(prepare(folder), Observers(), InProcess())
>>> outcome.model.latents, outcome.scores["image_passes"]
(['f0', 'f1', 'f2', 'f3', 'f4', 'f5'], 768)
"""

from pbt_disent.api.executing import RunOutcome, execute
from pbt_disent.api.preparing import PreparedRun, check, extend, objective_labels, open_data, prepare
from pbt_disent.population.executor import InProcess

__all__ = [
    "InProcess",
    "PreparedRun",
    "RunOutcome",
    "check",
    "execute",
    "extend",
    "objective_labels",
    "open_data",
    "prepare",
]
