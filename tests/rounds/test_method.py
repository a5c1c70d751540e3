"""The whole method on an oracle: a model that reveals two factors at a time, with a little noise, on a full grid."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pbt_disent.config import Config, load_config
from pbt_disent.population.executor import OnDone, Stopped
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.rounds.method import RunResult, run_in_parallel, run_method
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.log import AppendOnlyLog
from pbt_disent.training.tasks import NO_SUPERVISION, EncodeOutcome, EncodeTask, TrainOutcome, TrainTask
from tests.population.fakes import Crash, FakeExecutor, FakeOptions, Outcome, Watch, journal, manifests

SIZES = (5, 4, 6, 4, 5, 3)
FACTORS = np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), -1).reshape(-1, len(SIZES))


class Oracle(FakeExecutor):
    """Reveals the first two factors that vary in a set; the codes of all others are noise without information."""

    factors = FACTORS
    noise = 0.05

    def __init__(self, blobs: BlobStore, special: Outcome = lambda task: None, revealed: int = 2) -> None:
        super().__init__(blobs, special)
        self.revealed = revealed

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        images = (
            np.arange(len(self.factors)) if task.subset is None else self.blobs.get_array(task.subset).astype(np.int64)
        )
        truth = self.factors[images]
        learned = [k for k in range(truth.shape[1]) if len(np.unique(truth[:, k])) > 1][: self.revealed]
        noise = np.random.default_rng(len(images)).normal(size=truth.shape)
        codes = np.where(np.isin(np.arange(truth.shape[1]), learned), truth + self.noise * noise, noise)
        log_sigma = np.full(codes.shape, np.log(0.2))
        return EncodeOutcome(
            self.blobs.put_array(codes.astype(np.float32)),
            self.blobs.put_array(log_sigma.astype(np.float32)),
            tuple(3.0 if k in learned else 0.01 for k in range(truth.shape[1])),
        )


def config(*overrides: str) -> Config:
    return load_config(
        None,
        [
            *("population.size=4", "population.replicas=2", "population.max_generations=2", "rounds.leaf_runs=2"),
            *("rounds.max_depth=2", "final.size=4", "final.generations=2", "population.image_passes_per_generation=10"),
            "rounds.segmentation.name=density",
            *overrides,
        ],
    )


def run(folder: Path, executor: type[Oracle] = Oracle, watch: Watch | None = None, *overrides: str) -> RunResult:
    book, blobs, lease = journal(folder)
    try:
        setup = RunSetup(
            config=config(*overrides),
            images=None,
            num_images=len(executor.factors),
            objectives={"oracle": FakeOptions(latents=1)},
            supervision=NO_SUPERVISION,
            data=DataIdentity(name="oracle", fingerprint="oracle", subset=None, num_images=len(executor.factors)),
            image_shape=(1, 32, 32),
            blobs=blobs,
            journal=book,
            log=AppendOnlyLog(folder / "rounds.jsonl"),
            executor=executor(blobs),
            observer=watch or Watch(),
        )
        return run_method(setup, folder / "labels.parquet")
    finally:
        lease.release()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder)


def test_three_levels_recover_all_six_factors(finished: tuple[Path, RunResult]) -> None:
    _, result = finished
    assert len(result.leaf_runs) == 2
    for leaf in result.leaf_runs:
        assert [level.latents for level in leaf.levels] == [(0, 1), (2, 3), (4, 5)]
        for level in leaf.levels:
            for column, latent in enumerate(level.latents):
                truth = FACTORS[level.images, latent]
                assert np.abs(level.codes[:, column] - truth).max() < 0.5
                assert len(np.unique(truth)) == SIZES[latent]


def test_frozen_factors_have_one_value_and_indices_compose(finished: tuple[Path, RunResult]) -> None:
    _, result = finished
    for leaf in result.leaf_runs:
        for above, below in zip(leaf.levels, leaf.levels[1:], strict=False):
            assert set(below.images) <= set(above.images)
            for latent in above.latents:
                assert len(np.unique(FACTORS[below.images, latent])) == 1
            assert len(below.images) == np.prod(SIZES[max(above.latents) + 1 :])


def test_leaf_runs_take_different_subsets(finished: tuple[Path, RunResult]) -> None:
    _, result = finished
    first, second = (leaf.levels[1].images for leaf in result.leaf_runs)
    assert not np.array_equal(first, second)


def test_the_log_of_rounds_tells_what_happened_and_why(finished: tuple[Path, RunResult]) -> None:
    folder, result = finished
    rows = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    ends = {row["path"]: row["reason"] for row in rows if row["event"] == "finished"}
    assert ends == dict.fromkeys(["0", *(f"0/leaf{i}/{j}" for i in (1, 2) for j in (1, 2)), "final"], "max_generations")
    assert {row["reason"] for row in rows if row["event"] == "leaf_stopped"} == {"the greatest depth, 2, is reached"}
    cut = next(row for row in rows if row["event"] == "cut" and row["path"] == "0/leaf1/1")
    assert cut["parent"] == "0"
    assert sorted(cut["frozen"]) == ["0", "1"]
    paid = {row["path"]: row["image_passes"] for row in rows if row["event"] == "finished"}
    assert result.image_passes == sum(paid.values())


def test_the_lineage_names_the_images_of_every_round(finished: tuple[Path, RunResult]) -> None:
    folder, result = finished
    rows = [json.loads(line) for line in (folder / "lineage.jsonl").read_text().splitlines()]
    data = {row["round"]: row["data"] for row in rows if row["event"] == "finished"}
    whole = {"name": "oracle", "fingerprint": "oracle", "subset": None, "num_images": len(FACTORS)}
    assert data["0"] == data["final"] == whole
    _, blobs, lease = journal(folder)
    lease.release()
    levels = [level for leaf in result.leaf_runs for level in leaf.levels[1:]]
    assert sorted(data) == sorted(["0", "final", *(level.path for level in levels)])
    for level in levels:
        np.testing.assert_array_equal(blobs.get_array(data[level.path]["subset"]), level.images)
        assert data[level.path]["num_images"] == len(level.images)


def test_labels_hold_every_level(finished: tuple[Path, RunResult]) -> None:
    folder, result = finished
    table = pq.read_table(folder / "labels.parquet").to_pandas()
    assert len(table) == sum(level.codes.size for leaf in result.leaf_runs for level in leaf.levels)


@pytest.mark.parametrize(
    "at", [("0", 1, "committed"), ("0/leaf1/1", 0, "trained"), ("0/leaf2/2", 1, "decided"), ("final", 1, "scored")]
)
def test_a_crash_in_any_round_changes_nothing(
    tmp_path: Path, finished: tuple[Path, RunResult], at: tuple[str, int, str]
) -> None:
    class DiesAt(Watch):
        def notify(self, event: object) -> None:
            if (getattr(event, "path", None), getattr(event, "generation", None), getattr(event, "name", None)) == at:
                raise Crash

    with pytest.raises(Crash):
        run(tmp_path, Oracle, DiesAt())
    assert len(manifests(tmp_path)) < len(manifests(finished[0]))
    run(tmp_path)
    assert manifests(tmp_path) == manifests(finished[0])
    for name in ("rounds.jsonl", "lineage.jsonl", "labels.parquet"):
        assert (tmp_path / name).read_bytes() == (finished[0] / name).read_bytes()


def test_extending_the_first_round_redoes_what_depends_on_it(tmp_path: Path) -> None:
    run(tmp_path, Oracle, None)
    kept = {name: content for name, content in manifests(tmp_path).items() if name.startswith("rounds/0/generation")}
    run(tmp_path, Oracle, None, "population.max_generations=4", "rounds.leaf_max_generations=2")
    after = manifests(tmp_path)
    assert kept.items() <= after.items()
    fresh = tmp_path / "fresh"
    run(fresh, Oracle, None, "population.max_generations=4", "rounds.leaf_max_generations=2")
    rounds = {name: content for name, content in after.items() if name.startswith("rounds/")}
    assert rounds == manifests(fresh)


def test_one_level_alone_when_nothing_can_be_cut(tmp_path: Path) -> None:
    class Blurred(Oracle):
        def encode(self, task: EncodeTask) -> EncodeOutcome:
            outcome = super().encode(task)
            codes = self.blobs.get_array(outcome.codes)
            smeared = np.random.default_rng(0).normal(size=codes.shape).astype(np.float32)
            return EncodeOutcome(self.blobs.put_array(smeared), outcome.log_sigma, outcome.information)

    result = run(tmp_path, Blurred)
    assert [leaf.reason for leaf in result.leaf_runs] == ["no learned latent has a boundary"] * 2
    assert [len(leaf.levels) for leaf in result.leaf_runs] == [1, 1]
    assert result.last.path == "final"


def test_without_a_learned_latent_the_first_model_is_the_result(tmp_path: Path) -> None:
    class Blind(Oracle):
        def __init__(self, blobs: BlobStore) -> None:
            super().__init__(blobs, revealed=0)

    result = run(tmp_path, Blind)
    assert result.last.path == "0"
    assert all("learned no latent" in leaf.reason for leaf in result.leaf_runs)


def test_a_first_round_without_agreement_ends_the_run(tmp_path: Path) -> None:
    result = run(tmp_path, Oracle, None, "population.give_up_below=2")
    assert result.first.reason == "nothing_learned"
    assert result.leaf_runs == ()
    assert result.last is result.first


def test_pbt_u_vae_is_the_first_round_alone(tmp_path: Path) -> None:
    result = run(tmp_path, Oracle, None, "method=pbt-u-vae")
    assert result.last.path == "0"
    assert not (tmp_path / "labels.parquet").exists()


def test_a_stop_passes_through_and_leaves_the_run_resumable(tmp_path: Path, finished: tuple[Path, RunResult]) -> None:
    class Stops(Oracle):
        def __init__(self, blobs: BlobStore) -> None:
            super().__init__(blobs, self.halt)

        def halt(self, task: TrainTask) -> TrainOutcome | None:
            if task.key.round == "0/leaf1/2":
                raise Stopped("asked to stop")
            return None

    with pytest.raises(Stopped):
        run(tmp_path, Stops)
    run(tmp_path)
    assert manifests(tmp_path) == manifests(finished[0])


BOTH = "resources.rounds_at_once=2"


class Meeting(Oracle):
    """The first generation of each leaf run is not done before that of the other has begun."""

    meeting = threading.Barrier(2, timeout=30)
    _turn = threading.Lock()

    def train(self, tasks: Sequence[TrainTask], on_done: OnDone) -> list[TrainOutcome]:
        key = tasks[0].key
        if key.generation == 0 and key.round in {"0/leaf1/1", "0/leaf2/1"}:
            self.meeting.wait()
        with self._turn:
            return super().train(tasks, on_done)

    def stop(self) -> None:
        self.meeting.abort()


def test_leaf_runs_train_at_the_same_time_and_nothing_else_changes(tmp_path: Path) -> None:
    alone = run(tmp_path / "alone")
    together = run(tmp_path / "together", Meeting, None, BOTH)
    assert manifests(tmp_path / "together") == manifests(tmp_path / "alone")
    labels = [(tmp_path / name / "labels.parquet").read_bytes() for name in ("alone", "together")]
    assert labels[0] == labels[1]
    assert [leaf.reason for leaf in together.leaf_runs] == [leaf.reason for leaf in alone.leaf_runs]
    assert together.image_passes == alone.image_passes
    for log in ("lineage.jsonl", "rounds.jsonl"):
        rows = [sorted((tmp_path / name / log).read_text().splitlines()) for name in ("alone", "together")]
        assert rows[0] == rows[1]


def test_a_crash_in_one_ends_both_and_changes_nothing(tmp_path: Path) -> None:
    class Dying(Watch):
        def notify(self, event: object) -> None:
            if getattr(event, "path", "") == "0/leaf2/1" and getattr(event, "name", "") == "scored":
                raise Crash

    run(tmp_path / "alone")
    with pytest.raises(Crash):
        run(tmp_path / "crashed", Meeting, Dying(), BOTH)
    Meeting.meeting.reset()
    run(tmp_path / "crashed", Oracle, None, BOTH)
    assert manifests(tmp_path / "crashed") == manifests(tmp_path / "alone")


def test_results_come_in_order_and_what_failed_by_itself_is_raised() -> None:
    gate, stopped = threading.Event(), threading.Event()

    def first() -> str:
        gate.wait(10)
        return "first"

    def second() -> str:
        gate.set()
        return "second"

    def stop() -> None:
        raise AssertionError("nobody failed")

    assert run_in_parallel([first, second], 2, stop) == ["first", "second"]

    def waits() -> str:
        stopped.wait(10)
        raise Stopped("the run was asked to stop")

    def fails() -> str:
        raise ValueError("by itself")

    with pytest.raises(ValueError, match="by itself"):
        run_in_parallel([waits, fails, waits, waits], 2, stopped.set)


def test_one_at_a_time_is_this_thread() -> None:
    threads: list[int] = []
    run_in_parallel([lambda: threads.append(threading.get_ident())] * 3, 1, lambda: None)
    assert threads == [threading.get_ident()] * 3
