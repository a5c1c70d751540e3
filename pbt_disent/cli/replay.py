"""The verb `replay`: train one model along the winner's schedule of hyperparameters, in a run of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbt_disent.cli.app import verb
from pbt_disent.cli.arguments import (
    Changes,
    Cpus,
    Gpus,
    Memory,
    RayAddress,
    Runs,
    Unauthenticated,
    resource_overrides,
)
from pbt_disent.cli.run import start_run
from pbt_disent.errors import UserError

if TYPE_CHECKING:
    from pbt_disent.config import Config
    from pbt_disent.population.lineage import WinnersSchedule
    from pbt_disent.types import Json

__all__ = ["replay"]


@verb(
    "replay runs/demo-1",
    "replay demo-1 --round 0 --replicas 4",
    "replay lineage.jsonl --config demo --set seed=1",
)
def replay(
    lineage: Annotated[
        str, typer.Argument(metavar="LINEAGE", help="A run by path or name, or the lineage.jsonl of one.")
    ],
    round_path: Annotated[
        str | None,
        typer.Option(
            "--round", metavar="PATH", help="The round whose winner to follow, 0 or final; by default final, if any."
        ),
    ] = None,
    replicas: Annotated[
        int, typer.Option("--replicas", metavar="K", help="The number of models to train along the schedule.")
    ] = 1,
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="CONFIG", help="A preset or YAML file, where the lineage lies in no run."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The name of the new run; by default RUN-replay and a number.")
    ] = None,
    changes: Changes = None,
    cpus: Cpus = None,
    gpus: Gpus = None,
    memory: Memory = None,
    address: RayAddress = None,
    allow_unauthenticated: Unauthenticated = False,
    runs: Runs = "runs",
) -> int:
    """Train one model along the winner's hyperparameters.

    The new run has one member, whose hyperparameters change from generation to generation as those of the winner and
    its ancestors did.
    """
    from pbt_disent.population.lineage import winners_schedule

    file, source = _find_lineage(lineage, config, runs)
    rows = _read_rows(file)
    path = round_path or ("final" if any(row["round"] == "final" for row in rows) else "0")
    if path not in {"0", "final"}:
        raise UserError(f"round {path}", "trains on a part of the images that no other run knows", "choose 0 or final")
    schedule = winners_schedule(rows, path)
    machine = resource_overrides(cpus, gpus, memory, address, allow_unauthenticated)
    resolved = _replay_config(
        source, schedule, f"{file.parent.name}, round {path}", replicas, [*machine, *(changes or [])]
    )
    print(
        f"Replaying {file.parent.name}: member {schedule.member} of round {path} after generation "
        f"{schedule.generation + 1}, score {_score(rows, schedule, source)}, "
        f"{len(schedule.steps)} steps of {schedule.objective}"
    )
    return start_run(resolved, f"{file.parent.name}-replay", runs, name, seconds=1.0)


def _score(rows: list[Json], schedule: WinnersSchedule, source: Config) -> str:
    """Return the winner's score with its interval, by the models of all members of its generation."""
    from pbt_disent.metrics import interval_over_replicas
    from pbt_disent.population.manifest import score_text

    models = {
        row["member"]: row.get("replica_scores", [])
        for row in rows
        if (row["event"], row["round"], row["generation"]) == ("scored", schedule.path, schedule.generation)
    }
    own = models.pop(schedule.member, [])
    fitness = source.final.fitness if schedule.path == "final" else source.population.fitness
    compared = fitness.compares_replicas
    return score_text(schedule.score, interval_over_replicas(own, compared=compared, alike=list(models.values())))


def _find_lineage(reference: str, config: str | None, runs: Path | str) -> tuple[Path, Config]:
    """Return the lineage file, and the config of the run whose lineage it is."""
    from pbt_disent.config import load_config
    from pbt_disent.store.run_folder import RunFolder
    from pbt_disent.store.runs import find_run

    path = Path(reference).resolve()
    folder = RunFolder(path.parent) if path.is_file() else find_run(reference, runs)
    file = path if path.is_file() else folder.path / "lineage.jsonl"
    if config is not None:
        return file, load_config(config)
    if not (folder.path / "config.yaml").exists():
        raise UserError(f"lineage {path}", "lies in no run, so its data are not known", "name a config with --config")
    return file, folder.config()


def _read_rows(file: Path) -> list[Json]:
    """Read a lineage; a last line that a crash has cut short does not count."""
    from pbt_disent.files import json_lines

    try:
        with file.open("rb"):
            rows = [row for row, _ in json_lines(file)]
    except OSError as error:
        raise UserError(f"lineage {file}", f"must be readable ({error.strerror})", "check the path") from None
    complete = [row for row in rows if row is not None and {"event", "round", "generation"} <= row.keys()]
    if len(complete) < len(rows):
        raise UserError(f"lineage {file}", "must be the lineage of a run, JSON by lines", "check the path")
    return complete


def _replay_config(
    source: Config, schedule: WinnersSchedule, origin: str, replicas: int, overrides: list[str]
) -> Config:
    """Return the config of the new run: that of the source, with one member that follows the schedule."""
    from pbt_disent.api import objective_labels
    from pbt_disent.config import load_config

    labels = objective_labels([objective.name for objective in source.objectives])
    if (schedule.path == "final" and source.final.objective is not None) or schedule.objective not in labels:
        raise UserError(
            f"round {schedule.path}",
            f"trained {schedule.objective}, which learned from the labels that its run had found",
            "choose --round 0",
        )
    if replicas < 1:
        raise UserError(f"--replicas {replicas}", "must be at least 1", "leave it out")
    tree = source.dump()
    trained = source.final if schedule.path == "final" else source.population
    tree.update(method="replay", budget=None, spend_budget=False)
    tree["objective"] = source.objectives[labels.index(schedule.objective)].model_dump(mode="json")
    tree["population"].update(
        replicas=replicas, image_passes_per_generation=trained.image_passes_per_generation, mode="synchronous"
    )
    tree["replay"] = {"source": origin, "schedule": [dict(step) for step in schedule.steps]}
    return load_config(tree, overrides)
