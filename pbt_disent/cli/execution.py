"""What `run` and `resume` share: bring up everything, execute, and say what came out."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pbt_disent.cli.progress import bar
from pbt_disent.config import Config
from pbt_disent.errors import UserError
from pbt_disent.machine import usable_cpus, usable_memory
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.types import Json

if TYPE_CHECKING:
    from pbt_disent.api import Outcome, Prepared
    from pbt_disent.population.events import Observer
    from pbt_disent.population.executor import Executor
    from pbt_disent.rounds.method import Result
    from pbt_disent.training.tasks import WorkerContext

__all__ = ["check_resources", "device_of", "execute_run"]

SLOTS = 8
"""Tune trials of a run; each carries an equal share of the members."""


def check_resources(config: Config) -> None:
    """Refuse to ask for more than this machine has; what a cluster has is known when it is joined.

    Raises:
        UserError: more CPUs or more memory than there is, or a cluster that does not answer.
    """
    from pbt_disent.tune.address import address_to_join, knock

    if (address := address_to_join(config.resources.address)) is not None:
        knock(address)
        return
    cpus, memory = config.resources.cpus, config.resources.memory_gib
    if cpus is not None and cpus > usable_cpus():
        raise UserError(
            f"resources.cpus={cpus}", f"must be at most {usable_cpus()} here", "leave it out to use them all"
        )
    if memory is not None and memory * 2**30 > usable_memory():
        there = usable_memory() / 2**30
        raise UserError(f"resources.memory_gib={memory:g}", f"must be at most {there:.1f} here", "leave it out")


def execute_run(folder: RunFolder, *, seconds: float) -> int:
    """Execute a run in Ray's workers with MLflow watching, and print the plan before and the summary after.

    Args:
        folder: of the run.
        seconds: how long to measure for the plan.
    """
    from pbt_disent.api import execute, prepare
    from pbt_disent.cli.live import Progress
    from pbt_disent.cli.plan import print_plan
    from pbt_disent.cli.summary import print_summary
    from pbt_disent.population.clock import Clock
    from pbt_disent.population.events import Observers
    from pbt_disent.population.executor import Stopped
    from pbt_disent.report.export import population_picture, write_figures
    from pbt_disent.report.page import write_report
    from pbt_disent.rounds.budget import budget
    from pbt_disent.tracking.tracking_store import set_mlflow_defaults
    from pbt_disent.tracking.writer import MlflowWriter

    set_mlflow_defaults(os.environ)
    with bar("images") as progress:
        prepared = prepare(folder, progress=progress, device=device_of(folder.config()))
    expected = print_plan(prepared, seconds=seconds, check_room=True)
    config = prepared.config
    print(f"Run folder {folder.location}")
    with contextlib.ExitStack() as stack:
        watchers: list[Observer] = [stack.enter_context(Clock(folder.path))]
        if config.tracking.enabled:
            writer = stack.enter_context(
                MlflowWriter(
                    folder.path,
                    config.tracking.uri,
                    folder.name,
                    prepared.data.name,
                    draw_population=population_picture,
                    system_metrics=config.tracking.system_metrics,
                )
            )
            print(writer.description, flush=True)
            watchers.append(writer)
        live = Progress(budget(config).passes, expected, config.udr.against)
        try:
            with live:
                outcome = execute(prepared, _launcher(folder, config), Observers([live, *watchers]))
        except Stopped:
            print(f"Stopped; every committed generation is safe. Go on with: pbt-disent resume {folder.location}")
            raise
        scores = _add_truth(prepared, outcome)
        report = write_report(folder.path)
        write_figures(folder.path, folder.path / "figures")
        if config.tracking.enabled:
            writer.finish()
        folder.publish()
    print_summary(folder, outcome, scores, report)
    return 0


def device_of(config: Config) -> str:
    """Return what the workers of `pbt_disent.tune.launch.launch` train on."""
    from pbt_disent.machine import visible_gpus

    return "cuda" if config.resources.gpus != 0 and visible_gpus() else "cpu"


def _launcher(folder: RunFolder, config: Config) -> Callable[[WorkerContext, Callable[[Executor], Result]], Result]:
    from pbt_disent.tune.launch import launch

    largest = max(config.population.first_size, config.final.size * config.final.oversize)
    return lambda context, main: launch(context, config.resources, folder.name, SLOTS, main, largest)


def _add_truth(prepared: Prepared, outcome: Outcome) -> Json:
    """Compare the finished model with the true factors, where there are any, and write the scores again."""
    from pbt_disent.files import write_atomically
    from pbt_disent.report.truth import compare_with_factors

    truth = None if outcome.model is None else compare_with_factors(outcome.model, prepared.data, prepared.reported)
    scores = {**outcome.scores, "true_factors": truth}
    content = json.dumps(scores, indent=1, sort_keys=True) + "\n"
    write_atomically(prepared.folder.scores, content.encode())
    return scores
