"""A mixed population: members start with each objective in turn, and a copy takes its parent's with the weights."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from pbt_disent.population.engine import run_population
from pbt_disent.population.manifest import Manifest
from pbt_disent.training.tasks import TrainTask
from tests.population.fakes import FakeExecutor, FakeOptions, OtherOptions, Watch, journal, spec


def run(folder: Path, seed: int = 3) -> tuple[list[Manifest], list[TrainTask]]:
    round_journal, blobs, lease = journal(folder)
    objectives = {"fake": FakeOptions(), "other": OtherOptions()}
    mixed = replace(spec(size=7, generations=5, cutoff=0.3, seed=seed), objectives=objectives)
    executor = FakeExecutor(blobs)
    try:
        run_population(mixed, executor, round_journal, Watch())
    finally:
        lease.release()
    paths = sorted((folder / "rounds/0").glob("generation-*.json"))
    return [Manifest.from_bytes(path.read_bytes()) for path in paths], executor.tasks


def test_members_start_with_each_objective_in_turn(tmp_path: Path) -> None:
    history, tasks = run(tmp_path)
    assert [record.objective for record in history[0].members] == ["fake", "other"] * 3 + ["fake"]
    for record in history[0].members:
        assert record.hyperparameters.keys() == {"x", "batch_size"} | ({"y"} if record.objective == "other" else set())
    assert [task.objective.name for task in tasks[:4]] == ["fake", "fake", "other", "other"]


def test_a_copy_has_its_parents_objective_and_mutates_within_its_bounds(tmp_path: Path) -> None:
    crossed = 0
    for seed in range(6):
        history, _ = run(tmp_path / str(seed), seed)
        for before, after in itertools.pairwise(history):
            for record in after.members:
                parent = before.members[record.member if record.parent is None else record.parent]
                assert record.objective == parent.objective
                assert record.hyperparameters.keys() == parent.hyperparameters.keys()
                assert 1 <= record.hyperparameters.get("y", 1) <= 4
                crossed += record.objective != before.members[record.member].objective
    assert crossed > 0


def test_the_first_objective_draws_what_it_draws_alone(tmp_path: Path) -> None:
    round_journal, blobs, lease = journal(tmp_path / "alone")
    run_population(spec(size=4, generations=1), FakeExecutor(blobs), round_journal, Watch())
    lease.release()
    alone = Manifest.from_bytes((tmp_path / "alone/rounds/0/generation-0000.json").read_bytes())
    mixed, _ = run(tmp_path / "mixed")
    values = [record.hyperparameters for record in mixed[0].members if record.objective == "fake"]
    assert values == [record.hyperparameters for record in alone.members]
