"""Runs from Python: prepare one, execute it, read what came out.

folder = create_run(load_config("demo"), "demo", Path("runs"), None)
outcome = execute(prepare(folder), Observers(), InProcess())
"""

from pbt_disent.api.executing import RunOutcome, execute
from pbt_disent.api.preparing import PreparedRun, check, extend, objective_labels, open_data, prepare
from pbt_disent.population.launcher import InProcess

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
