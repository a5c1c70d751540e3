"""The messages between the engine and the workers: a task is all that its result depends on.

`train(task)` is a pure function of the task and of the blobs that it names, so a task can be run again, anywhere,
at any time, with the same result. Tasks and outcomes are small: tensors and arrays travel as blob digests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pbt_disent.errors import UserError
from pbt_disent.models.contract import ObjectiveOptions
from pbt_disent.types import Hyperparameters

__all__ = [
    "NO_SUPERVISION",
    "EncodeOutcome",
    "EncodeTask",
    "Status",
    "SupervisionDigests",
    "TaskKey",
    "TrainOutcome",
    "TrainTask",
    "WorkerContext",
]

Status = Literal["ok", "nan", "failed"]


@dataclass(frozen=True, order=True)
class TaskKey:
    """Names a task: which replicas of which member of which generation of which round.

    Args:
        round: The path of the round, such as ``0/leaf1/1``.
        generation: The number of the generation, from 0.
        member: The index of the member in the population, from 0.
        replicas: The indices of the replicas that this task trains together.
    """

    round: str
    generation: int
    member: int
    replicas: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.round}:g{self.generation}:m{self.member}:r{','.join(map(str, self.replicas))}"


@dataclass(frozen=True)
class SupervisionDigests:
    """The supervision of a run: what objectives learn from in addition to the images, where they need that.

    Args:
        labels: The digest of an int64 array (N, L) of class ids, -1 where one is not known, or None.
        partners: The digest of an int64 array (N, P) with the indices of the images that each image may be paired with,
            or None.
    """

    labels: str | None = None
    partners: str | None = None

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests that there are."""
        return tuple(digest for digest in (self.labels, self.partners) if digest is not None)

    def needed_by(self, options: ObjectiveOptions) -> dict[str, str]:
        """Return the digests of what an objective needs, by the name of the field.

        Args:
            options: The options of the objective.

        Raises:
            UserError: The objective needs labels or pairs, and there are none.
        """
        digests: dict[str, str] = {}
        for need, name, digest in (("labels", "labels", self.labels), ("partner", "partners", self.partners)):
            if need not in options.needs:
                continue
            if digest is None:
                raise UserError(f"objective {options.name}", f"needs {name}", "use an objective without them")
            digests[name] = digest
        return digests


NO_SUPERVISION = SupervisionDigests()


@dataclass(frozen=True)
class TrainTask:
    """Train the replicas of one member for one generation, then encode the probe images.

    A task whose objective needs labels or pairs cannot be made without them, so that a run which lacks them fails
    before anything is trained.

    Args:
        key: The name of the task.
        seed: The seed of the run; every random stream is named by seed and key.
        objective: The options of the objective, as `ObjectiveOptions.resolve` returns them.
        origins: For each replica the digest of the checkpoint to start from, or None for a fresh start.
        hyperparameters: The member's values for this generation.
        image_passes: The number of images that each replica trains on in this generation, rounded up to whole batches;
            a partner that comes with an image does not count here.
        subset: The digest of an int64 index array into the images, or None for all of them.
        probe: The digest of the int64 index array of the images to encode afterwards.
        supervision: What the objective learns from in addition to the images.

    Raises:
        UserError: The objective needs labels or pairs, and there are none.
    """

    key: TaskKey
    seed: int
    objective: ObjectiveOptions
    origins: tuple[str | None, ...]
    hyperparameters: Hyperparameters
    image_passes: int
    subset: str | None
    probe: str
    supervision: SupervisionDigests = NO_SUPERVISION

    def __post_init__(self) -> None:
        """Check that there is all that the objective learns from."""
        self.supervision.needed_by(self.objective)


@dataclass(frozen=True)
class TrainOutcome:
    """What came of a task, replica by replica in the order of `key.replicas`.

    Args:
        key: The name of the task.
        status: ``ok``, ``nan`` (a loss or a code is not finite) or ``failed`` (the task raised; see `error`).
        checkpoints: The digest of each replica's checkpoint; empty unless ok.
        codes: The digest of the float32 array (replicas, N, Z) of probe codes; None unless ok.
        information: The information of each latent in nats, by each replica, (replicas, Z); empty unless ok.
        losses: The mean of each loss term over the generation, one dictionary per replica.
        image_passes: The image passes paid, over all replicas, partners included.
        error: One line on what went wrong, if anything did.
        lost: The digest of the blob that was missing or damaged, if that was the reason.
    """

    key: TaskKey
    status: Status
    checkpoints: tuple[str, ...] = ()
    codes: str | None = None
    information: tuple[tuple[float, ...], ...] = ()
    losses: tuple[dict[str, float], ...] = ()
    image_passes: int = 0
    error: str | None = None
    lost: str | None = None


@dataclass(frozen=True)
class EncodeTask:
    """Encode a set of images with a trained replica.

    Args:
        checkpoint: The digest of the replica's checkpoint.
        subset: The digest of an int64 index array into the images, or None for all of them.
    """

    checkpoint: str
    subset: str | None


@dataclass(frozen=True)
class EncodeOutcome:
    """The codes of a set, in the order of its indices.

    Args:
        codes: The digest of the float32 array (N, Z) of posterior means.
        log_sigma: The digest of the float32 array (N, Z) of log standard deviations; None where there are none.
        information: The information of each latent in nats, over the whole set, (Z,).
    """

    codes: str
    log_sigma: str | None
    information: tuple[float, ...]


@dataclass(frozen=True)
class WorkerContext:
    """What a worker needs to know once, for all tasks of a run. Pickles small.

    Args:
        store: The folder or URI of the blob store.
        images_dir: The folder of the memory-mapped images (`pbt_disent.data.storage`).
        device: ``cpu`` or ``cuda``.
        stacked: Whether the replicas of a task train as one model (`pbt_disent.models.replicas`) or one by one.
        bf16: Whether networks are trained in bfloat16.
        compiled: Whether networks are compiled for training.
    """

    store: str
    images_dir: str
    device: str = "cpu"
    stacked: bool = False
    bf16: bool = False
    compiled: bool = False
