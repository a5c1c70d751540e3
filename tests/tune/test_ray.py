"""The executor on a real Ray: the same results as in one process, whatever dies on the way."""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pbt_disent.config import PopulationConfig, ResourcesConfig
from pbt_disent.errors import PbtDisentError, UserError
from pbt_disent.population.engine import run_population
from pbt_disent.population.events import Observers
from pbt_disent.population.executor import (
    Executor,
    InProcessExecutor,
    ScoreTask,
    TrainedMember,
    run_score_task,
    run_train_task,
)
from pbt_disent.population.fitness import MemberScore
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.journal import RoundJournal
from pbt_disent.population.manifest import DataIdentity
from pbt_disent.population.spec import RoundSpec
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.store.lease import Lease
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask, WorkerContext
from pbt_disent.tune.executor import RayExecutor
from pbt_disent.tune.launch import launch
from pbt_disent.tune.messages import PoolStatistics
from tests.objectives import options_of
from tests.training.bench import SHAPE, make_bench
from tests.tune.fakes import FakeTrainer, RefusingFitness, train_tasks
from tests.tune.processes import kill_soon, ray_children, workers_on

pytestmark = pytest.mark.ray

TWO = ResourcesConfig(cpus=2, gpus=0)


@dataclass
class Session:
    """What came of everything that was done on one Ray."""

    outcomes: dict[str, list[TrainOutcome]] = field(default_factory=dict)
    progress: list[TrainOutcome] = field(default_factory=list)
    healthy: tuple[PoolStatistics, dict[int, int]] | None = None
    after_loss: tuple[PoolStatistics, dict[int, int]] | None = None
    scores: list[MemberScore] = field(default_factory=list)
    encoded: EncodeOutcome | None = None
    errors: list[PbtDisentError] = field(default_factory=list)


HEALTHY = train_tasks(0, members=11, replicas=2)
MIXED = [
    *train_tasks(1, 2, **{"raise": 1.0}),
    *(replace(t, key=replace(t.key, member=5)) for t in train_tasks(1, 1, disk=1.0)),
]
WORKER_DIES = train_tasks(2, 4, sleep=0.4)
TRIAL_DIES = train_tasks(3, 6, sleep=0.4)
POOL_DIES = train_tasks(4, 4, sleep=0.4)


def score_task(outcomes: list[TrainOutcome]) -> ScoreTask:
    members = tuple(
        TrainedMember(
            member,
            tuple(outcome.codes or "" for outcome in pair),
            tuple(row for outcome in pair for row in outcome.information),
        )
        for member in range(11)
        if (pair := [outcome for outcome in outcomes if outcome.key.member == member])
    )
    return ScoreTask("0", 0, UDRFitness(), members)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    """One Ray for all tests of this file that need no trainer."""
    done = Session()

    def main(executor: Executor) -> Session:
        assert isinstance(executor, RayExecutor)
        done.outcomes["healthy"] = executor.train(HEALTHY, done.progress.append)
        for generation in range(100, 120):
            executor.train(train_tasks(generation, members=8), lambda outcome: None)
        done.scores = executor.score(score_task(done.outcomes["healthy"]))
        done.encoded = executor.encode(EncodeTask(done.outcomes["healthy"][0].checkpoints[0], None))
        done.healthy = executor.statistics()
        for call in (
            lambda: executor.encode(EncodeTask("0" * 64, None)),
            lambda: executor.score(ScoreTask("0", 0, RefusingFitness(), (), ())),
        ):
            with pytest.raises(PbtDisentError) as caught:
                call()
            done.errors.append(caught.value)
        done.outcomes["mixed"] = executor.train(MIXED, lambda outcome: None)
        killer = kill_soon(workers_on(folder, 2))
        done.outcomes["worker dies"] = executor.train(WORKER_DIES, lambda outcome: None)
        killer.join()
        killer = kill_soon(lambda: [trial.pid for trial in ray_children("ray::CohortTrial") if workers_on(folder, 3)()])
        done.outcomes["trial dies"] = executor.train(TRIAL_DIES, lambda outcome: None)
        killer.join()
        deadline = time.monotonic() + 60
        done.after_loss = executor.statistics()
        while 2 not in done.after_loss[1].values() and time.monotonic() < deadline:
            time.sleep(0.2)  # the tasks are done by the pool; Tune takes its time to start the trial again
            done.after_loss = executor.statistics()
        killer = kill_soon(lambda: [pool.pid for pool in ray_children("ray::WorkerPool") if workers_on(folder, 4)()])
        done.outcomes["pool dies"] = executor.train(POOL_DIES, lambda outcome: None)
        killer.join()
        return done

    context = WorkerContext(str(folder / "blobs"), str(folder))
    result = launch(context, TWO, "session", main, 11, make_trainer=FakeTrainer)
    assert result is done
    return result


@pytest.fixture(scope="module")
def expected(folder: Path) -> Any:
    """Train tasks in this process, beside the session's blobs."""
    trainer: Any = FakeTrainer(WorkerContext(str(folder / "blobs"), str(folder)))
    return lambda tasks: [run_train_task(trainer, task) for task in tasks]


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("healthy", HEALTHY), ("worker dies", WORKER_DIES), ("trial dies", TRIAL_DIES), ("pool dies", POOL_DIES)],
)
def test_outcomes_are_those_of_one_process_in_the_order_of_the_tasks(
    session: Session, expected: Any, name: str, tasks: list[TrainTask]
) -> None:
    assert session.outcomes[name] == expected(tasks)


def test_progress_is_told_once_per_task(session: Session) -> None:
    assert sorted(session.progress, key=lambda outcome: outcome.key) == sorted(
        session.outcomes["healthy"], key=lambda outcome: outcome.key
    )


def test_no_actor_restarts_in_a_healthy_run(session: Session) -> None:
    assert session.healthy is not None
    workers, trials = session.healthy
    assert (workers.started, workers.lost, workers.alive) == (2, 0, 2)
    assert workers.completed == len(HEALTHY) + 20 * 8 + 2
    assert trials == dict.fromkeys(range(2), 1)


def test_the_dead_were_replaced(session: Session, folder: Path) -> None:
    assert session.after_loss is not None
    workers, trials = session.after_loss
    assert (workers.started, workers.lost, workers.alive) == (3, 1, 2)
    assert sorted(trials.values()) == [1, 2]
    assert len(list(folder.glob("*-g2"))) > len(WORKER_DIES)


def test_errors_of_tasks_are_outcomes_and_what_passes_is_tried_again(session: Session) -> None:
    first, second, full = session.outcomes["mixed"]
    assert (first.status, first.error) == ("failed", "ValueError: the loss is no number")
    assert second.status == "failed"
    assert full.status == "ok"


def test_scores_and_codes(session: Session, folder: Path) -> None:
    healthy = session.outcomes["healthy"]
    assert session.scores == run_score_task(score_task(healthy), BlobStore(folder / "blobs"))
    assert len({score.score for score in session.scores}) > 5
    assert session.encoded is not None
    assert session.encoded.codes == f"codes of {healthy[0].checkpoints[0]}"
    assert [type(error) for error in session.errors] == [CorruptBlob, UserError]


def test_the_engine_commits_the_same_bytes_on_ray_and_in_one_process(tmp_path: Path) -> None:
    """On two workers that read the images from disk, and on one that has them from Ray's object store."""
    manifests: dict[str, dict[str, bytes]] = {}
    for name in ("disk", "object-store", "process"):
        folder = tmp_path / name
        bench = make_bench(folder, "betatcvae")
        spec = RoundSpec(
            path="0",
            seed=3,
            population=PopulationConfig(
                size=3,
                replicas=2,
                max_generations=2,
                image_passes_per_generation=100,
                exploit={"cutoff": 0.34},
            ),
            objectives={
                "betatcvae": options_of(
                    "betatcvae", SHAPE, latents=3, batch_size=32, beta=6, lr={"low": 1e-4, "high": 1e-2}
                )
            },
            fitness=UDRFitness(information_threshold=0),
            subset=None,
            set_size=200,
            probe=bench.task.probe,
            data=DataIdentity(name="sprites", fingerprint="0" * 64, subset=None, num_images=200),
        )
        journal = RoundJournal(folder, bench.blobs, Lease(folder / "lease.json"))

        def main(executor: Executor, spec: RoundSpec = spec, journal: RoundJournal = journal) -> None:
            run_population(spec, executor, journal, Observers())

        if name == "process":
            main(InProcessExecutor(bench.context))
        else:
            resources = TWO.model_copy(update={"images": name, "cpus": 1 if name == "object-store" else 2})
            launch(bench.context, resources, "engine/0 ü", main, 3)
        manifests[name] = {path.name: path.read_bytes() for path in sorted(folder.rglob("generation-*.json"))}
    assert sorted(manifests["disk"]) == ["generation-0000.json", "generation-0001.json"]
    assert manifests["disk"] == manifests["object-store"] == manifests["process"]
    assert b'"status":"ok"' in manifests["disk"]["generation-0001.json"].replace(b": ", b":")


def test_pickled_errors_keep_their_parts() -> None:
    error = pickle.loads(pickle.dumps(UserError("a", "must be b", "do c")))
    assert (error.value, error.rule, error.remedy) == ("a", "must be b", "do c")
