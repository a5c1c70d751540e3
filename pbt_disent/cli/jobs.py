"""The commands that manage runs on a remote cluster: `submit`, `status`, `logs`, `stop` and `list`."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import (
    DEFAULT_DASHBOARD,
    AsJson,
    Changes,
    ConfigName,
    Cpus,
    Dashboard,
    Data,
    Gpus,
    Memory,
    NewName,
    SubmittedRun,
    Unauthenticated,
    read_config,
    resource_overrides,
)
from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.config import Config
    from pbt_disent.types import Json

__all__ = ["list_runs", "logs", "progress_of", "status", "stop", "submit"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@verb(
    "submit my.yaml --runs /shared/runs",
    "submit my.yaml --runs 's3://bucket/runs?endpoint_override=minio:9000&scheme=http'",
    "submit my.yaml --runs /shared/runs --working-dir . --name first",
)
def submit(
    config: ConfigName = None,
    data: Data = None,
    changes: Changes = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    address: Dashboard = DEFAULT_DASHBOARD,
    allow_unauthenticated: Unauthenticated = False,
    runs: Annotated[
        str | None,
        typer.Option(
            "--runs",
            metavar="FOLDER",
            help="The folder or URI of all runs, seen by all nodes of the cluster; by default runs in this folder.",
        ),
    ] = None,
    name: NewName = None,
    working_dir: Annotated[
        Path | None,
        typer.Option("--working-dir", metavar="FOLDER", help="Carry this folder along: the run starts in it."),
    ] = None,
    retries: Annotated[
        int,
        typer.Option(
            "--retries",
            metavar="N",
            help="How many times the run is restarted in a row without committing a generation.",
        ),
    ] = 3,
) -> None:
    """Submit a run to a Ray cluster.

    A supervisor on the cluster restarts the run when it fails.
    """
    from pbt_disent.config import write_yaml
    from pbt_disent.store.filesystem import is_uri, join_location, open_files
    from pbt_disent.store.run_folder import refuse_secrets
    from pbt_disent.tune.jobs import JobClient

    # The run itself learns from Ray which cluster it is in, so the address of the dashboard stays out of its config.
    preset, resolved = read_config(config, data, [*resource_overrides(cpus, gpus, memory), *(changes or [])])
    resources = {"address": None, "allow_unauthenticated": allow_unauthenticated}
    resolved = resolved.model_copy(update={"resources": resolved.resources.model_copy(update=resources)})
    root = str(Path("runs").resolve()) if runs is None else runs
    if not is_uri(root) and not Path(root).is_absolute():
        raise UserError(f"--runs {root}", "must be an absolute path that all nodes see", "write it in full")
    open_files(root)
    refuse_secrets(resolved)
    if retries < 0:
        raise UserError(f"--retries {retries}", "must be at least 0", "leave it out")
    if working_dir is not None and not working_dir.is_dir():
        raise UserError(f"--working-dir {working_dir}", "must be a folder", "check the path")
    if name is not None and not NAME.fullmatch(name):
        raise UserError(f"--name {name}", "must have letters, digits, - and _ only", "choose another")
    _check_data(resolved, working_dir)
    jobs = JobClient(address, allow_unauthenticated=allow_unauthenticated)
    name = name or _free_name(preset, (job.run for job in jobs.list_jobs()))
    with tempfile.TemporaryDirectory(prefix="pbt-disent-") as temporary:
        files = Path(temporary) / "files"
        if working_dir is None:
            files.mkdir()
        else:
            shutil.copytree(working_dir, files)
        file = f"{re.sub('[^A-Za-z0-9_-]', '-', preset)}.yaml"
        (files / file).write_text(write_yaml(resolved), encoding="utf-8")
        jobs.submit(name, preset, root, files, ["--config", file, "--retries", str(retries)])
    print(f"Submitted {name} to {jobs.address}; its folder there will be {join_location(root, name)}")
    print(f"Next    pbt-disent status {name} --address {jobs.address}      (or logs --follow, stop, resume)")


def _check_data(config: Config, working_dir: Path | None) -> None:
    """Refuse a data file that lies on this machine and would not be on the cluster."""
    name = config.data.name
    if Path(name).is_absolute() or not Path(name).exists():
        return
    if working_dir is None or not (working_dir / name).exists():
        raise UserError(
            f"data {name}",
            "is a path on this machine that the cluster does not see",
            "give an absolute path that all nodes see, or carry its folder along with --working-dir",
        )


def _free_name(preset: str, names: Iterable[str]) -> str:
    stem, taken = re.sub(r"[^A-Za-z0-9_-]", "-", preset), set(names)
    return next(name for number in itertools.count(1) if (name := f"{stem}-{number}") not in taken)


@verb("status my-1", "status my-1 --json", "status my-1 --address http://127.0.0.1:8265")
def status(
    run: SubmittedRun,
    address: Dashboard = DEFAULT_DASHBOARD,
    allow_unauthenticated: Unauthenticated = False,
    as_json: AsJson = False,
) -> int:
    """Say how far a submitted run is. The exit code is 1 if it failed."""
    from pbt_disent.tune.jobs import JobClient

    jobs = JobClient(address, allow_unauthenticated=allow_unauthenticated)
    job = jobs.find(run)
    record = {
        "run": job.run,
        "job": job.id,
        "status": job.status,
        "message": job.message,
        "seconds": _age(job),
        **progress_of(jobs.read_log(job)),
    }
    if as_json:
        print(json.dumps(record, indent=1))
    else:
        _print_status(record)
    return 1 if job.status == "FAILED" else 0


def progress_of(log: str) -> Json:
    """Return the record of the last committed generation, and the last retry, in what a submitted run has printed.

    Args:
        log: The lines of `pbt_disent.cli.live.LiveProgress` and `pbt_disent.tune.supervisor`.
    """
    from pbt_disent.cli.live import last_record
    from pbt_disent.tune.supervisor import LOG_PREFIX

    missing = dict.fromkeys(("round", "generation", "best", "interval", "seconds_left"))
    retries = [line.removeprefix(LOG_PREFIX) for line in log.splitlines() if line.startswith(LOG_PREFIX)]
    return {**(last_record(log) or missing), "retry": retries[-1] if retries else None}


def _age(job: Any) -> float | None:
    """Return for how many seconds a job has run, or ran."""
    return None if job.started is None else (job.ended or time.time()) - job.started


def _print_status(record: Json) -> None:
    from pbt_disent.population.manifest import score_text
    from pbt_disent.units import duration

    age = "" if record["seconds"] is None else f", for {duration(record['seconds'])}"
    print(f"{record['run']}: {record['status'].lower()}{age} (job {record['job']})")
    if record["generation"] is None:
        print("  no generation committed yet")
    else:
        best = "none" if record["best"] is None else score_text(record["best"], record["interval"])
        left = "on record" if record["seconds_left"] is None else f"about {duration(record['seconds_left'])} left"
        print(f"  round {record['round']}, generation {record['generation']}, best score {best}; {left}")
    if record["retry"]:
        print(f"  {record['retry']}")
    if record["status"] == "FAILED":
        print(f"  {record['message'].partition(', last available logs')[0]}; see: pbt-disent logs {record['run']}")


@verb("logs my-1", "logs my-1 --follow")
def logs(
    run: SubmittedRun,
    address: Dashboard = DEFAULT_DASHBOARD,
    allow_unauthenticated: Unauthenticated = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on printing until the run ends.")] = False,
) -> None:
    """Print what a submitted run has printed."""
    from pbt_disent.cli.live import without_records
    from pbt_disent.tune.jobs import JobClient

    jobs = JobClient(address, allow_unauthenticated=allow_unauthenticated)
    job = jobs.find(run)
    for line in without_records(jobs.follow_log(job) if follow else [jobs.read_log(job)]):
        print(line, end="", flush=True)


@verb("stop my-1")
def stop(
    run: SubmittedRun,
    address: Dashboard = DEFAULT_DASHBOARD,
    allow_unauthenticated: Unauthenticated = False,
) -> None:
    """Stop a submitted run. The generation that it is committing is committed first."""
    from pbt_disent.tune.jobs import JobClient

    jobs = JobClient(address, allow_unauthenticated=allow_unauthenticated)
    job = jobs.stop(jobs.find(run))
    print(f"{job.run}: {job.status.lower()}; every committed generation is safe")
    print(f"Next    pbt-disent resume {job.run} --address {jobs.address}")


@verb("list", "list --address http://127.0.0.1:8265", name="list")
def list_runs(address: Dashboard = DEFAULT_DASHBOARD, allow_unauthenticated: Unauthenticated = False) -> None:
    """List the runs that were submitted to a cluster."""
    from pbt_disent.tune.jobs import JobClient
    from pbt_disent.units import duration

    for job in JobClient(address, allow_unauthenticated=allow_unauthenticated).list_jobs():
        age = _age(job)
        print(f"{job.run:24} {job.status.lower():10} {'' if age is None else duration(age):9} {job.config}")
