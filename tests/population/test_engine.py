from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.population.engine import run_population
from pbt_disent.population.events import GenerationCommitted
from pbt_disent.population.manifest import Manifest
from pbt_disent.store.lease import LeaseLost
from pbt_disent.training.tasks import SupervisionDigests, TrainOutcome, TrainTask
from tests.population.fakes import (
    Crash,
    FakeExecutor,
    FakeOptions,
    Outcome,
    Watch,
    failed,
    journal,
    manifests,
    spec,
)


def run(
    folder: Path, special: Outcome = lambda task: None, die_at: tuple[int, str] | None = None, **options: int
) -> Watch:
    round_journal, blobs, lease = journal(folder)
    watch = Watch(die_at)
    try:
        run_population(spec(**options), FakeExecutor(blobs, special), round_journal, watch)
    finally:
        lease.release()
    return watch


def read(folder: Path, generation: int) -> Manifest:
    return Manifest.from_bytes((folder / f"rounds/0/generation-{generation:04d}.json").read_bytes())


def lineage(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "lineage.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return folder


@pytest.mark.parametrize("phase", ["trained", "scored", "decided", "committed"])
@pytest.mark.parametrize("generation", [0, 1, 3])
def test_a_crash_at_any_phase_changes_nothing(tmp_path: Path, undisturbed: Path, generation: int, phase: str) -> None:
    with pytest.raises(Crash):
        run(tmp_path, die_at=(generation, phase))
    assert len(manifests(tmp_path)) == generation + (phase == "committed")
    run(tmp_path)
    assert manifests(tmp_path) == manifests(undisturbed)
    assert (tmp_path / "lineage.jsonl").read_bytes() == (undisturbed / "lineage.jsonl").read_bytes()


def test_a_crash_between_manifest_and_lineage_leaves_the_lineage_whole(tmp_path: Path, undisturbed: Path) -> None:
    run(tmp_path, generations=2)
    path = tmp_path / "lineage.jsonl"
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    run(tmp_path)
    assert path.read_bytes() == (undisturbed / "lineage.jsonl").read_bytes()


def test_extending_a_finished_round_equals_a_longer_one(tmp_path: Path, undisturbed: Path) -> None:
    run(tmp_path, generations=2)
    watch = run(tmp_path, generations=4)
    assert manifests(tmp_path) == manifests(undisturbed)
    replayed = [event.replayed for event in watch.events if isinstance(event, GenerationCommitted)]
    assert replayed == [True, True, False, False]


def test_a_finished_round_trains_nothing_more(undisturbed: Path) -> None:
    def never(task: TrainTask) -> TrainOutcome:
        raise AssertionError(f"{task.key} was trained again")

    run(undisturbed, never)


def test_the_plan_of_a_generation_is_what_the_one_before_decided(undisturbed: Path) -> None:
    before = read(undisturbed, 0)
    for generation in range(1, 4):
        after = read(undisturbed, generation)
        for planned, done in zip(before.next, after.members, strict=True):
            assert done.hyperparameters == planned.hyperparameters
            assert (done.operation, done.parent) == (planned.operation, planned.parent)
            if planned.parent is not None:
                assert planned.origins == before.members[planned.parent].checkpoints
        before = after


def test_exploit_copies_every_replica_of_the_parent(undisturbed: Path) -> None:
    exploits = [
        assignment for g in range(3) for assignment in read(undisturbed, g).next if assignment.operation == "exploit"
    ]
    assert len(exploits) == 3 * 2
    assert all(len(exploit.origins) == 2 and None not in exploit.origins for exploit in exploits)


def test_selection_moves_the_population_towards_the_best(tmp_path: Path) -> None:
    run(tmp_path, size=12, generations=8)
    first, last = (np.median([record.score or 0 for record in read(tmp_path, g).members]) for g in (0, 7))
    assert last > first + 0.1


def test_replaced_checkpoints_are_collected_and_needed_ones_kept(undisturbed: Path) -> None:
    from pbt_disent.store.blobs import BlobStore

    blobs = BlobStore(undisturbed / "blobs")
    history = [read(undisturbed, generation) for generation in range(4)]
    best = max((manifest.best for manifest in history if manifest.best), key=lambda record: record.score or 0)
    kept = {d for manifest in history[-2:] for record in manifest.members for d in record.checkpoints}
    there = {d for manifest in history for record in manifest.members for d in record.checkpoints if d in blobs}
    assert there == kept | set(best.checkpoints)
    assert not any(digest in blobs for manifest in history for record in manifest.members for digest in record.codes)


@pytest.mark.parametrize("status", ["nan", "failed"])
def test_a_broken_replica_breaks_its_member_and_it_is_replaced(tmp_path: Path, status: str) -> None:
    def special(task: TrainTask) -> TrainOutcome | None:
        broken = task.key.generation == 1 and task.key.member == 2 and task.key.replicas == (1,)
        return failed(task, status) if broken else None

    run(tmp_path, special)
    record = read(tmp_path, 1).members[2]
    assert (record.status, record.score, record.checkpoints) == (status, None, ())
    replacement = read(tmp_path, 1).next[2]
    assert replacement.operation == "exploit"
    assert replacement.parent != 2
    assert read(tmp_path, 2).members[2].score is not None
    assert {"event": "failed", "member": 2}.items() <= next(
        row for row in lineage(tmp_path) if row["event"] == "failed"
    ).items()


def test_a_population_of_nan_starts_afresh(tmp_path: Path) -> None:
    run(tmp_path, lambda task: failed(task, "nan") if task.key.generation == 0 else None)
    assert all(
        assignment.operation == "restart" and assignment.origins == (None, None)
        for assignment in read(tmp_path, 0).next
    )
    assert read(tmp_path, 1).best is not None


def test_when_the_training_code_fails_everywhere_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(PbtDisentError, match=r"every member of round 0 failed.*made to fail"):
        run(tmp_path, failed)
    assert manifests(tmp_path) == {}


def test_a_driver_that_lost_its_lease_commits_nothing(tmp_path: Path) -> None:
    round_journal, blobs, lease = journal(tmp_path)
    (tmp_path / "lease.json").write_text(json.dumps({"epoch": 99, "released": True}))
    with pytest.raises(LeaseLost):
        run_population(spec(), FakeExecutor(blobs), round_journal, Watch())
    assert manifests(tmp_path) == {}
    lease.release()


def test_a_round_with_other_inputs_moves_the_old_one_aside(tmp_path: Path) -> None:
    run(tmp_path, seed=1)
    old = manifests(tmp_path / "rounds")
    run(tmp_path, seed=2)
    assert manifests(tmp_path / "superseded" / "0") == old
    assert manifests(tmp_path / "rounds") != old
    finished = [row for row in lineage(tmp_path) if row["event"] == "finished"]
    assert len(finished) == 8


def test_an_unreadable_manifest_is_named(tmp_path: Path) -> None:
    run(tmp_path, generations=1)
    path = tmp_path / "rounds/0/generation-0000.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 3'))
    with pytest.raises(PbtDisentError, match=r"generation-0000\.json is no manifest of this version"):
        run(tmp_path)
    assert gc.isenabled()


def test_lineage_tells_who_was_born_replaced_and_mutated(undisturbed: Path) -> None:
    rows = lineage(undisturbed)
    assert sum(row["event"] == "born" for row in rows) == 6
    assert sum(row["event"] == "trained" for row in rows) == 24
    assert sum(row["event"] == "replaced" for row in rows) == sum(row["event"] == "mutated" for row in rows) == 8


class SupervisedOptions(FakeOptions):
    """An objective that learns from labels and pairs."""

    name: ClassVar[str] = "supervised"
    needs: ClassVar[frozenset[str]] = frozenset({"labels", "partner"})


@pytest.mark.parametrize("mode", ["synchronous", "asynchronous"])
@pytest.mark.parametrize(
    ("supervision", "missing"), [(SupervisionDigests(), "labels"), (SupervisionDigests(labels="0" * 64), "partners")]
)
def test_an_objective_without_its_supervision_fails_before_anything_is_trained(
    tmp_path: Path, mode: str, supervision: SupervisionDigests, missing: str
) -> None:
    round_journal, blobs, lease = journal(tmp_path)
    executor = FakeExecutor(blobs)
    objectives = {"fake": FakeOptions(), "supervised": SupervisedOptions()}
    with pytest.raises(UserError, match=f"objective supervised: needs {missing}; use an objective without them"):
        run_population(
            replace(spec(mode=mode), objectives=objectives, supervision=supervision), executor, round_journal, Watch()
        )
    lease.release()
    assert executor.tasks == []
    assert manifests(tmp_path) == {}
