"""The command line: a verb is a function with typer's annotations. Importing this imports no torch, ray or mlflow.

The order of the modules below is that of the verbs in ``pbt-disent --help``.
"""

# isort: off
from pbt_disent.cli import run, plan, replay, jobs, watch, report, score, models, label, data, options, doctor  # noqa: F401

# isort: on
from pbt_disent.cli.app import entry, main

__all__ = ["entry", "main"]
