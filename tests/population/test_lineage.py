"""The winner's schedule as the lineage tells it, against the way through the manifests and the tasks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pbt_disent.errors import UserError
from pbt_disent.population.engine import run_population
from pbt_disent.population.lineage import winners_schedule
from pbt_disent.population.manifest import Manifest
from pbt_disent.population.spec import RoundSpec
from pbt_disent.training.tasks import TrainOutcome, TrainTask
from pbt_disent.types import Hyperparameters, Json
from tests.population.fakes import FakeExecutor, FakeOptions, OtherOptions, Watch, failed, journal, spec


def run(folder: Path, round_spec: RoundSpec, broken: tuple[int, int] = (-1, -1)) -> tuple[list[Manifest], FakeExecutor]:
    def special(task: TrainTask) -> TrainOutcome | None:
        return failed(task, "nan") if (task.key.generation, task.key.member) == broken else None

    round_journal, blobs, lease = journal(folder)
    executor = FakeExecutor(blobs, special)
    run_population(round_spec, executor, round_journal, Watch())
    lease.release()
    return [Manifest.from_bytes(p.read_bytes()) for p in sorted(folder.rglob("generation-*.json"))], executor


def rows(folder: Path) -> list[Json]:
    return [json.loads(line) for line in (folder / "lineage.jsonl").read_text().splitlines()]


def walked(history: list[Manifest], tasks: list[TrainTask]) -> list[Hyperparameters]:
    """Follow the best checkpoint back through the origins of the tasks that wrote it."""
    best = max((m.best for m in history if m.best), key=lambda record: record.score or 0)
    written = {
        record.checkpoints[0]: (manifest.generation, record.member)
        for manifest in history
        for record in manifest.members
        if record.checkpoints
    }
    doing = {(t.key.generation, t.key.member): t for t in tasks if t.key.replicas == (0,)}
    steps, origin = [], best.checkpoints[0]
    while origin is not None:
        task = doing[written[origin]]
        steps.append(task.hyperparameters)
        origin = task.origins[0]  # type: ignore[assignment]
    return steps[::-1]


def variants() -> dict[str, RoundSpec]:
    plain = spec(size=6, generations=8, cutoff=0.5)
    return {
        "plain": plain,
        "thinned": spec(size=6, generations=8, cutoff=0.5, oversize=2),
        "tournament": spec(size=6, generations=8, exploit={"name": "tournament", "cutoff": 0.5}),
        "mixed": replace(plain, objectives={"fake": FakeOptions(), "other": OtherOptions()}),
    }


@pytest.mark.parametrize("name", list(variants()))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_schedule_is_what_the_winners_weights_were_trained_with(tmp_path: Path, name: str, seed: int) -> None:
    history, executor = run(tmp_path, replace(variants()[name], seed=seed), broken=(1, 2))
    schedule = winners_schedule(rows(tmp_path))
    assert list(schedule.steps) == walked(history, executor.tasks)
    best = max((m.best for m in history if m.best), key=lambda record: record.score or 0)
    assert (schedule.member, schedule.score, schedule.objective) == (best.member, best.score, best.objective)
    assert history[schedule.generation].best == best


def test_a_round_that_was_trained_again_counts_as_it_was_last(tmp_path: Path) -> None:
    run(tmp_path, spec(seed=1))
    history, executor = run(tmp_path, spec(seed=2))
    again = [manifest for manifest in history if manifest.identity == spec(seed=2).identity]
    assert list(winners_schedule(rows(tmp_path), "0").steps) == walked(again, executor.tasks)


def test_one_member_follows_a_schedule_to_its_end_and_the_result_is_where_it_ends(tmp_path: Path) -> None:
    steps = tuple({"x": x, "batch_size": 8.0} for x in (5.0, 1.0, 9.0))
    alone = spec().population.model_copy(update={"size": 1, "max_generations": 3, "replicas": 1})
    round_spec = replace(spec(), population=alone, schedule=steps)
    round_journal, blobs, lease = journal(tmp_path)
    executor = FakeExecutor(blobs)
    result = run_population(round_spec, executor, round_journal, Watch())
    lease.release()
    assert [task.hyperparameters for task in executor.tasks] == list(steps)
    assert [task.origins[0] is None for task in executor.tasks] == [True, False, False]
    assert result.best is not None
    assert (result.best.generation, result.best.hyperparameters) == (2, steps[-1])
    assert winners_schedule(rows(tmp_path)).steps == steps[:1], "the first step scores best"


def test_what_has_no_winner_is_said_in_one_line(tmp_path: Path) -> None:
    run(tmp_path, spec(generations=1))
    with pytest.raises(UserError, match=r"^round 0/leaf1: is not in the lineage; .*known: 0$"):
        winners_schedule(rows(tmp_path), "0/leaf1")
    with pytest.raises(UserError, match=r"^lineage: holds no generation that has ended"):
        winners_schedule([])
    unscored = [{**row, "score": None} if row["event"] == "scored" else row for row in rows(tmp_path)]
    with pytest.raises(UserError, match=r"^round 0: has no member with a score"):
        winners_schedule(unscored)
