"""A worker, called as its actor calls it, but in this process."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayError

from pbt_disent.errors import PbtDisentError
from pbt_disent.population.executor import ScoreTask
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.store.blobs import CorruptBlob
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask, WorkerContext
from pbt_disent.tune.messages import WorkItem, WorkKind, WorkResult
from pbt_disent.tune.worker import Worker, _loss_cause
from tests.tune.fakes import FakeTrainer, train_tasks


def make_worker(folder: Path, images_dir: Path | None = None) -> Worker:
    return Worker(WorkerContext(str(folder / "blobs"), str(images_dir or folder)), FakeTrainer)


def run(worker: Worker, kind: WorkKind, task: TrainTask | ScoreTask | EncodeTask) -> WorkResult:
    return worker.run(WorkItem("k", kind, 1.0, pickle.dumps(task)))


def test_what_a_worker_does_with_each_kind_of_item(tmp_path: Path) -> None:
    worker = make_worker(tmp_path)
    assert worker.start() is None
    trained = run(worker, "train", train_tasks(0, 1)[0])
    outcome: TrainOutcome = pickle.loads(trained.payload)
    assert (trained.key, trained.ok, outcome.status, outcome.image_passes) == ("k", True, "ok", 10)
    encoded: EncodeOutcome = pickle.loads(run(worker, "encode", EncodeTask(outcome.checkpoints[0], None)).payload)
    assert encoded.codes == f"codes of {outcome.checkpoints[0]}"
    scored = run(worker, "score", ScoreTask("0", 0, UDRFitness(), ()))
    assert (scored.ok, pickle.loads(scored.payload)) == (True, [])


def test_an_error_of_the_training_code_is_a_failed_outcome(tmp_path: Path) -> None:
    worker = make_worker(tmp_path)
    worker.start()
    result = run(worker, "train", train_tasks(0, 1, **{"raise": 1.0})[0])
    outcome: TrainOutcome = pickle.loads(result.payload)
    assert (result.ok, result.cause) == (True, "code")
    assert (outcome.status, outcome.error) == ("failed", "ValueError: the loss is no number")


def test_what_may_pass_is_marked_and_what_may_not_keeps_its_type(tmp_path: Path) -> None:
    worker = make_worker(tmp_path)
    worker.start()
    full = run(worker, "train", train_tasks(0, 1, disk=1.0)[0])
    assert (full.ok, full.cause) == (False, "storage")
    assert str(pickle.loads(full.payload)).startswith("No space left on device; free some space")
    missing = run(worker, "encode", EncodeTask("0" * 64, None))
    assert (missing.ok, missing.cause) == (False, "code")
    assert isinstance(pickle.loads(missing.payload), CorruptBlob)


def test_a_trainer_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    error = make_worker(tmp_path, tmp_path / "absent").start()
    assert isinstance(error, PbtDisentError)
    assert str(error).startswith(f"{tmp_path / 'absent'}: no such folder; ")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError("no room"), "memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), "device"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "code"),
        (AttributeError("no such layer"), "code"),
        (OSError(5, "Input/output error"), "storage"),
    ],
)
def test_what_went_wrong_is_told_apart(tmp_path: Path, error: Exception, cause: str) -> None:
    class Broken(FakeTrainer):
        def train(self, task: TrainTask) -> TrainOutcome:
            raise error

    worker = Worker(WorkerContext(str(tmp_path / "blobs"), str(tmp_path)), Broken)
    assert worker.start() is None
    result = run(worker, "train", train_tasks(0, 1)[0])
    assert result.cause == cause
    assert result.ok == (cause == "code"), "only an error of the code is an outcome of the member"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OutOfMemoryError("Task was killed due to the node running low on memory"), "memory"),
        (ActorUnavailableError("the actor is unreachable", b"a" * 16), "node"),
        (RayActorError(error_msg="The actor died because its node has died. Node Id: 5f"), "node"),
        (RayActorError(error_msg="The actor is dead because its worker process has died."), "process"),
    ],
)
def test_how_ray_lost_a_worker(error: RayError, cause: str) -> None:
    assert _loss_cause(error) == cause
