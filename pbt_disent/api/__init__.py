"""Runs from Python: prepare one, execute it anywhere, read what came out.

folder = create_run(load_config("demo"), "demo", Path("runs"), None)
outcome = execute(prepare(folder), in_process)
"""

from pbt_disent.api.checking import check
from pbt_disent.api.executing import Launch, Outcome, execute, in_process
from pbt_disent.api.extending import extend
from pbt_disent.api.preparing import Prepared, kind_labels, prepare

__all__ = ["Launch", "Outcome", "Prepared", "check", "execute", "extend", "in_process", "kind_labels", "prepare"]
