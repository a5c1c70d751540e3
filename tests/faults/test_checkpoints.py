"""Checkpoints are corrupted, truncated or deleted under a run that needs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pbt_disent.population.events import Event, GenerationCommitted
from pbt_disent.population.manifest import Manifest
from pbt_disent.population.recovery import RecoveringExecutor
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.training.tasks import TaskKey, TrainOutcome, TrainTask
from tests.faults.small_population import train_population
from tests.population.fakes import manifests

pytestmark = pytest.mark.slow


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


class DamageCheckpoints:
    """Damages checkpoints of a generation right after it was committed."""

    def __init__(self, generation: int, members: list[int], damage: Callable[[Path], None], folder: Path) -> None:
        self._generation, self._members, self._damage, self._folder = generation, members, damage, folder
        self.damaged: list[str] = []

    def notify(self, event: Event) -> None:
        if not isinstance(event, GenerationCommitted) or event.manifest.generation != self._generation:
            return
        for member in self._members:
            for digest in event.manifest.members[member].checkpoints:
                self._damage(self._folder / "blobs" / digest[:2] / digest[2:])
                with pytest.raises(CorruptBlob):
                    BlobStore(self._folder / "blobs").get(digest)
                self.damaged.append(digest)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train_population(folder)
    return folder


def incidents_of(folder: Path, event: str) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (folder / "incidents.jsonl").read_text().splitlines()]
    return [row for row in rows if row["event"] == event]


@pytest.mark.parametrize(
    ("damage", "generation", "members"),
    [(corrupt, 0, [0, 1, 2]), (truncate, 1, [0, 1, 2]), (Path.unlink, 1, [0])],
    ids=["all members corrupted", "all members truncated", "one member missing"],
)
def test_lost_checkpoints_are_made_again_from_the_generation_before(
    tmp_path: Path, undisturbed: Path, damage: Callable[[Path], None], generation: int, members: list[int]
) -> None:
    observer = DamageCheckpoints(generation, members, damage, tmp_path)
    train_population(tmp_path, observer)
    assert len(observer.damaged) == 2 * len(members)
    assert manifests(tmp_path) == manifests(undisturbed)
    restored = incidents_of(tmp_path, "checkpoint_restored")
    assert restored
    assert all(row["equal"] and row["generation"] == generation for row in restored)
    assert {row["lost"] for row in restored} <= set(observer.damaged)
    assert {row["lost"] for row in incidents_of(tmp_path, "checkpoint_lost")} == {row["lost"] for row in restored}


def test_when_whole_generations_are_lost_the_ancestors_are_trained_again(tmp_path: Path, undisturbed: Path) -> None:
    class LoseAll(DamageCheckpoints):
        def notify(self, event: Event) -> None:
            super().notify(event)
            if isinstance(event, GenerationCommitted) and event.manifest.generation == 1:
                for path in (self._folder / "blobs").rglob("*"):
                    if path.is_file() and path.stat().st_size > 10_000:
                        path.unlink()

    train_population(tmp_path, LoseAll(0, [], Path.unlink, tmp_path))
    assert manifests(tmp_path) == manifests(undisturbed)
    assert {row["generation"] for row in incidents_of(tmp_path, "checkpoint_restored")} == {0, 1}


def test_a_checkpoint_that_comes_out_different_takes_the_place_of_the_lost_one(tmp_path: Path) -> None:
    """As on a GPU, where the same work gives other bits."""
    from tests.population.fakes import FakeExecutor, journal, spec
    from tests.population.test_engine import run

    run(tmp_path, size=3, generations=2)
    run_journal, blobs, lease = journal(tmp_path)
    run_journal.enter(spec(size=3, generations=2))
    last = Manifest.from_bytes((tmp_path / "rounds/0/generation-0001.json").read_bytes())
    lost = last.members[0].checkpoints
    for digest in lost:
        (tmp_path / "blobs" / digest[:2] / digest[2:]).unlink()
    executor = FakeExecutor(blobs)
    train = executor._train

    def train_differently(task: TrainTask) -> TrainOutcome:
        outcome = train(task)
        return replace(outcome, checkpoints=(blobs.put(outcome.checkpoints[0].encode()),))

    executor._train = train_differently  # type: ignore[method-assign]
    recovering = RecoveringExecutor(executor, run_journal, blobs, AppendOnlyLog(tmp_path / "incidents.jsonl"))
    record = last.members[0]
    options = spec().objectives[record.objective]
    task = TrainTask(TaskKey("0", 2, 0, (0,)), 3, options, lost[:1], record.hyperparameters, 10, None, spec().probe)
    recovered = recovering._with_restored_origins(task)
    assert recovered.origins[0] != lost[0]
    assert recovered.origins[0] in blobs
    (row,) = incidents_of(tmp_path, "checkpoint_restored")
    assert (row["lost"], row["found"], row["equal"]) == (lost[0], recovered.origins[0], False)
    lease.release()


def test_a_manifest_that_is_no_json_any_more_is_set_aside_and_its_generation_trained_again(
    tmp_path: Path, undisturbed: Path
) -> None:
    train_population(tmp_path)
    torn = tmp_path / "rounds/0/generation-0002.json"
    torn.write_bytes(torn.read_bytes()[:200])
    train_population(tmp_path)
    assert manifests(tmp_path / "rounds") == manifests(undisturbed / "rounds")
    assert len((tmp_path / "superseded/0/0/generation-0002.json").read_bytes()) == 200
