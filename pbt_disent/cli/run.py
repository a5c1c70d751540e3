"""The verbs `run` and `resume`: bring up everything that a run needs, execute it, and say what came out."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import (
    Changes,
    ConfigName,
    Cpus,
    Data,
    Gpus,
    Memory,
    NewName,
    RayAddress,
    RunReference,
    Runs,
    Unauthenticated,
    read_config,
    resource_overrides,
)

if TYPE_CHECKING:
    from pbt_disent.api import PreparedRun, RunOutcome
    from pbt_disent.config import Config
    from pbt_disent.population.events import Observer
    from pbt_disent.store.run_folder import RunFolder
    from pbt_disent.types import Json

__all__ = ["execute_run", "resume", "run", "start_run"]


@verb(
    "run demo",
    "run --data my-pictures/",
    "run demo --set seed=1 --cpus 2",
    "run my.yaml --runs s3://bucket/runs",
    "run my.yaml --address 10.0.0.1:6379",
)
def run(
    config: ConfigName = None,
    data: Data = None,
    changes: Changes = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    address: RayAddress = None,
    allow_unauthenticated: Unauthenticated = False,
    runs: Runs = "runs",
    name: NewName = None,
) -> int:
    """Run a preset or a YAML file from start to end.

    It runs on this machine, or on a Ray cluster that this machine is a node of.
    """
    machine = resource_overrides(cpus, gpus, memory, address, allow_unauthenticated)
    preset, loaded = read_config(config, data, [*machine, *(changes or [])])
    return start_run(loaded, preset, runs, name, seconds=2.0)


@verb(
    "resume runs/demo-1",
    "resume demo-1 --set population.max_generations=12",
    "resume my-1 --address http://127.0.0.1:8265",
)
def resume(
    run: RunReference,
    changes: Changes = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Join the Ray that runs there, or let the cluster with this dashboard (a URL) go on with the run.",
        ),
    ] = None,
    allow_unauthenticated: Unauthenticated = False,
    runs: Runs = "runs",
) -> int:
    """Go on with a run that was stopped, killed or is to run longer.

    Every committed generation stands: only what was under way is computed again.
    """
    if "://" in (address or ""):
        return _resume_on_cluster(
            run,
            [*resource_overrides(cpus, gpus, memory, None, allow_unauthenticated), *(changes or [])],
            str(address),
            runs,
            allow_unauthenticated=allow_unauthenticated,
        )
    from pbt_disent.api import extend
    from pbt_disent.cli.plan import check_resources
    from pbt_disent.store.runs import find_run

    folder = find_run(run, runs)
    machine = resource_overrides(cpus, gpus, memory, address, allow_unauthenticated)
    check_resources(extend(folder, [*machine, *(changes or [])]))
    return execute_run(folder, seconds=1.0)


def _resume_on_cluster(run: str, changes: list[str], address: str, runs: str, *, allow_unauthenticated: bool) -> int:
    """Let the cluster whose dashboard was named go on with the run."""
    from pbt_disent.store.filesystem import is_uri, join_location
    from pbt_disent.tune.jobs import JobClient

    jobs = JobClient(address, allow_unauthenticated=allow_unauthenticated)
    root = runs if is_uri(runs) else str(Path(runs).resolve())
    changes = ["resources.address=null", *changes]
    job = jobs.resume(run, root, [word for change in changes for word in ("--set", change)])
    folder = join_location(job.runs, job.run)
    print(f"Submitted {job.run} to {jobs.address} again, as job {job.id}; its folder there is {folder}")
    return 0


def start_run(config: Config, preset: str, runs: Path | str, name: str | None, *, seconds: float) -> int:
    """Check a config against this machine and its data, create the folder of a new run, and execute it.

    Args:
        config: The resolved config.
        preset: Where the config came from; it names the run if `name` is None.
        runs: The folder or URI of all runs.
        name: The name of the run.
        seconds: How long to measure the speed of training before the run.
    """
    from pbt_disent.api import check
    from pbt_disent.cli.plan import check_resources
    from pbt_disent.cli.progress import bar
    from pbt_disent.store.runs import create_run

    check_resources(config)
    with bar("images") as progress:
        check(config, progress)
    return execute_run(create_run(config, preset, runs, name), seconds=seconds)


def execute_run(folder: RunFolder, *, seconds: float) -> int:
    """Execute a run on Ray with MLflow watching; print the plan before it and the summary after it.

    Args:
        folder: The folder of the run.
        seconds: How long to measure the speed of training before the run.
    """
    from pbt_disent.api import execute, prepare
    from pbt_disent.cli.live import LiveProgress
    from pbt_disent.cli.plan import device_of, print_plan
    from pbt_disent.cli.progress import bar
    from pbt_disent.cli.summary import print_summary
    from pbt_disent.population.clock import Clock
    from pbt_disent.population.events import Observers
    from pbt_disent.population.executor import Stopped
    from pbt_disent.report.export import population_picture, write_figures
    from pbt_disent.report.page import write_report
    from pbt_disent.rounds.budget import run_cost
    from pbt_disent.tracking.tracking_store import set_mlflow_defaults
    from pbt_disent.tracking.writer import MlflowWriter

    set_mlflow_defaults(os.environ)
    with bar("images") as progress:
        prepared = prepare(folder, progress=progress, device=device_of(folder.config()))
    expected = print_plan(prepared, seconds=seconds, check_room=True)
    config = prepared.config
    print(f"Run folder {folder.location}")
    with contextlib.ExitStack() as stack:
        observers: list[Observer] = [stack.enter_context(Clock(folder.path))]
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
            observers.append(writer)
        live = LiveProgress(run_cost(config).image_passes, expected)
        try:
            with live:
                outcome = execute(prepared, Observers([live, *observers]))
        except Stopped:
            print(f"Stopped; every committed generation is safe. Go on with: pbt-disent resume {folder.location}")
            raise
        scores = _compare_with_factors(prepared, outcome)
        report = write_report(folder.path)
        write_figures(folder.path, folder.path / "figures")
        if config.tracking.enabled:
            writer.finish()
        folder.publish()
    print_summary(folder, outcome, scores, report)
    return 0


def _compare_with_factors(prepared: PreparedRun, outcome: RunOutcome) -> Json:
    """Compare the final model with the true factors, where there are any, and write the scores again."""
    from pbt_disent.files import write_atomically
    from pbt_disent.rounds.evaluation import compare_with_factors

    comparison = None
    if outcome.model is not None:
        comparison = compare_with_factors(outcome.model, prepared.data, prepared.evaluation_images)
    scores = {**outcome.scores, "true_factors": comparison}
    content = json.dumps(scores, indent=1, sort_keys=True) + "\n"
    write_atomically(prepared.folder.scores, content.encode())
    return scores
