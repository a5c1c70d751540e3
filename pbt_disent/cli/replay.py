"""Train one model along the winner's schedule of hyperparameters, in a run of its own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pbt_disent.cli.common import add_changes, add_cluster, add_runs, resource_overrides
from pbt_disent.config import Config, load_config
from pbt_disent.errors import UserError
from pbt_disent.files import json_lines

if TYPE_CHECKING:
    from pbt_disent.population.schedule import Schedule
    from pbt_disent.types import Json

__all__ = ["add_arguments", "call"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("lineage", metavar="LINEAGE", help="a run by path or name, or the lineage.jsonl of one")
    parser.add_argument("--round", metavar="PATH", help="whose winner: 0 or final (default: final where there is one)")
    parser.add_argument("--replicas", type=int, default=1, metavar="K", help="models to train along it (%(default)s)")
    parser.add_argument("--config", metavar="CONFIG", help="preset or YAML file, where the lineage lies in no run")
    parser.add_argument("--name", help="name of the new run (default: the run's, -replay and a number)")
    add_changes(parser, "change the new run, such as seed=1")
    add_cluster(parser)
    add_runs(parser)


def call(options: argparse.Namespace) -> int:
    """Find the schedule, create a run that follows it, and execute it."""
    from pbt_disent.api import check
    from pbt_disent.cli.execution import check_resources, execute_run
    from pbt_disent.cli.progress import bar
    from pbt_disent.population.schedule import winners_schedule
    from pbt_disent.store.creating import create_run

    file, source = _lineage(options)
    rows = _rows(file)
    paths = {row["round"] for row in rows}
    path = options.round or ("final" if "final" in paths else "0")
    if path not in {"0", "final"}:
        raise UserError(f"round {path}", "trains on a part of the images that no other run knows", "choose 0 or final")
    schedule = winners_schedule(rows, path)
    config = _follow(source, schedule, f"{file.parent.name}, round {path}", options)
    check_resources(config)
    with bar("images") as progress:
        check(config, progress)
    print(
        f"Replaying {file.parent.name}: member {schedule.member} of round {path} after generation "
        f"{schedule.generation + 1}, score {_score(rows, schedule, source)}, "
        f"{len(schedule.steps)} steps of {schedule.kind}"
    )
    folder = create_run(config, f"{file.parent.name}-replay", options.runs, options.name)
    return execute_run(folder, seconds=1.0)


def _score(rows: list[Json], schedule: Schedule, source: Config) -> str:
    """Return the winner's score with its interval, by the models of all members of its generation."""
    from pbt_disent.metrics import interval_over_replicas
    from pbt_disent.population.uncertainty import score_text

    models = {
        row["member"]: row.get("replica_scores", [])
        for row in rows
        if (row["event"], row["round"], row["generation"]) == ("scored", schedule.path, schedule.generation)
    }
    own = models.pop(schedule.member, [])
    compared = source.udr.against == "replicas"
    return score_text(schedule.score, interval_over_replicas(own, compared=compared, alike=list(models.values())))


def _lineage(options: argparse.Namespace) -> tuple[Path, Config]:
    """Return the lineage file, and the config of what it is the lineage of."""
    from pbt_disent.store.finding import find_run
    from pbt_disent.store.run_folder import RunFolder

    given = Path(options.lineage).resolve()
    folder = RunFolder(given.parent) if given.is_file() else find_run(options.lineage, options.runs)
    file = given if given.is_file() else folder.path / "lineage.jsonl"
    if options.config is not None:
        return file, load_config(options.config)
    if not (folder.path / "config.yaml").exists():
        raise UserError(f"lineage {given}", "lies in no run, so its data are not known", "name a config with --config")
    return file, folder.config()


def _rows(file: Path) -> list[Json]:
    """Read a lineage; what a crash has cut short at its end does not count."""
    try:
        with file.open("rb"):
            rows = [row for row, _ in json_lines(file)]
    except OSError as error:
        raise UserError(f"lineage {file}", f"must be readable ({error.strerror})", "check the path") from None
    whole = [row for row in rows if row is not None and {"event", "round", "generation"} <= row.keys()]
    if len(whole) < len(rows):
        raise UserError(f"lineage {file}", "must be the lineage of a run, JSON by lines", "check the path")
    return whole


def _follow(source: Config, schedule: Schedule, said: str, options: argparse.Namespace) -> Config:
    """Return the config of the new run."""
    from pbt_disent.api import kind_labels

    labels = kind_labels([one.name for one in source.objectives])
    if (schedule.path == "final" and source.final.objective is not None) or schedule.kind not in labels:
        raise UserError(
            f"round {schedule.path}",
            f"trained {schedule.kind}, which learned from the labels that its run had found",
            "choose --round 0",
        )
    if options.replicas < 1:
        raise UserError(f"--replicas {options.replicas}", "must be at least 1", "leave it out")
    tree = source.dump()
    passes = source.final if schedule.path == "final" else source.population
    tree.update(method="replay", budget=None, spend_budget=False)
    tree["objective"] = source.objectives[labels.index(schedule.kind)].model_dump(mode="json")
    tree["population"].update(
        replicas=options.replicas, images_per_generation=passes.images_per_generation, mode="synchronous"
    )
    tree["replay"] = {"source": said, "schedule": [dict(step) for step in schedule.steps]}
    return load_config(tree, [*resource_overrides(options), *options.overrides])
