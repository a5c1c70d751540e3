"""The messages between the engine and whatever trains: a task is all that its result depends on.

`train(task)` is a pure function of the task and of the blobs that it names, so a task can be run again, anywhere,
at any time, with the same result. Tasks and outcomes are small: tensors and arrays travel as blob digests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pbt_disent.types import Hyperparameters, Json

__all__ = ["EncodeOutcome", "EncodeTask", "Status", "TaskKey", "Teaching", "TrainOutcome", "TrainTask", "WorkerContext"]

Status = Literal["ok", "nan", "failed"]


@dataclass(frozen=True, order=True)
class TaskKey:
    """Names a task: which replicas of which member of which generation of which round.

    Args:
        round: path of the round, such as ``0/leaf1/1``.
        generation: from 0.
        member: index in the population, from 0.
        replicas: the replica indices that this task trains together.
    """

    round: str
    generation: int
    member: int
    replicas: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.round}:g{self.generation}:m{self.member}:r{','.join(map(str, self.replicas))}"


@dataclass(frozen=True)
class Teaching:
    """Another objective than the run's, and what it is told; known only once earlier rounds have found it.

    Args:
        objective: its name.
        settings: its fixed settings, complete.
        labels: as in `WorkerContext`.
        partners: as in `WorkerContext`.
    """

    objective: str
    settings: Json
    labels: str | None = None
    partners: str | None = None


@dataclass(frozen=True)
class TrainTask:
    """Train the replicas of one member for one generation, then encode the probe images.

    Args:
        key: what is trained.
        seed: the run's seed; every stream is named by seed and key.
        origins: for each replica the digest of the checkpoint to start from, or none for a fresh start.
        hyperparameters: the member's values for this generation.
        images: for how many images each replica trains in this generation (rounded up to whole batches); a partner that
            comes with an image does not count here.
        subset: digest of an int64 index array into the images, or none for all of them.
        probe: digest of the int64 index array of the images to encode afterwards.
        kind: index of the objective among those of the run.
        teaching: takes their place, where given.
    """

    key: TaskKey
    seed: int
    origins: tuple[str | None, ...]
    hyperparameters: Hyperparameters
    images: int
    subset: str | None
    probe: str
    kind: int = 0
    teaching: Teaching | None = None


@dataclass(frozen=True)
class TrainOutcome:
    """What came of a task, replica by replica in the order of `key.replicas`.

    Args:
        key: the task's key.
        status: ``ok``, ``nan`` (a loss or a code is not finite) or ``failed`` (the task raised; see `error`).
        checkpoints: digest of each replica's checkpoint; empty unless ok.
        codes: digest of the float32 array (replicas, N, Z) of probe codes; none unless ok.
        information: nats per latent of each replica on the probe, (replicas, Z); empty unless ok.
        losses: mean of each loss term over the generation, one dict per replica.
        images: image passes paid, over all replicas, partners included.
        error: one line on what went wrong, if anything did.
        lost: digest of the blob that was missing or damaged, if that was it.
    """

    key: TaskKey
    status: Status
    checkpoints: tuple[str, ...] = ()
    codes: str | None = None
    information: tuple[tuple[float, ...], ...] = ()
    losses: tuple[dict[str, float], ...] = ()
    images: int = 0
    error: str | None = None
    lost: str | None = None


@dataclass(frozen=True)
class EncodeTask:
    """Encode a set of images with a trained replica.

    Args:
        checkpoint: digest of the replica's checkpoint.
        subset: digest of an int64 index array into the images, or none for all of them.
    """

    checkpoint: str
    subset: str | None


@dataclass(frozen=True)
class EncodeOutcome:
    """The codes of a set, in the order of its indices.

    Args:
        codes: digest of the float32 array (N, Z) of posterior means.
        log_sigma: digest of the float32 array (N, Z) of log standard deviations; none where there are none.
        information: nats per latent over the whole set, (Z,).
    """

    codes: str
    log_sigma: str | None
    information: tuple[float, ...]


@dataclass(frozen=True)
class WorkerContext:
    """What a worker needs to know once, for all tasks of a run. Pickles small.

    Args:
        store: folder of the blob store.
        images: folder of the memory-mapped images (`pbt_disent.data.storage`).
        objective: name of the objective, the first one where there are several.
        settings: its fixed settings, complete.
        device: ``cpu`` or ``cuda``.
        labels: digest of an int64 array (N, L) of class ids, -1 where one is not known; for objectives that need it.
        partners: digest of an int64 array (N, P): for each image the indices of images that it may be paired with.
        stacked: whether the replicas of a task train as one model (`pbt_disent.models.replicas`) or one by one.
        bf16: whether networks are trained in bfloat16.
        compiled: whether networks are compiled for training.
        others: names and settings of further objectives, in a mixed population.
    """

    store: str
    images: str
    objective: str
    settings: Json = field(default_factory=dict)
    device: str = "cpu"
    labels: str | None = None
    partners: str | None = None
    stacked: bool = False
    bf16: bool = False
    compiled: bool = False
    others: tuple[tuple[str, Json], ...] = ()

    @property
    def kinds(self) -> tuple[tuple[str, Json], ...]:
        """Names and settings of all objectives, by their index in `TrainTask.kind`."""
        return ((self.objective, self.settings), *self.others)
