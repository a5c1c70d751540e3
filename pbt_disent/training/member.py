"""Train one member for one generation: a pure function of the task and of the blobs that it names."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from pbt_disent.data.storage import StoredImages
from pbt_disent.models.build import build
from pbt_disent.models.contract import ObjectiveOptions
from pbt_disent.models.encoding import Encoded, encode, to_unit
from pbt_disent.models.latent_model import LatentModel
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.batches import batches
from pbt_disent.training.checkpoint import dump, restore
from pbt_disent.training.group import Group, Replica
from pbt_disent.training.replaying import replaying
from pbt_disent.training.resident import ResidentImages
from pbt_disent.training.supervision import Supervision
from pbt_disent.training.tasks import (
    EncodeOutcome,
    EncodeTask,
    SupervisionDigests,
    TrainOutcome,
    TrainTask,
    WorkerContext,
)
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["Trainer"]

_CHECK_STEPS = 100
_FINALIZE_IMAGES = 5000


class Trainer:
    """Trains any task of one run; holds nothing between tasks but the open image store.

    Args:
        context: Where blobs and images are, and on what device tasks are trained.
        images: The images, (N, C, H, W), where they are not to be read from the folder in the context.
    """

    def __init__(self, context: WorkerContext, images: UInt8Array | None = None) -> None:
        if context.device == "cpu":
            torch.set_num_threads(1)
        self._context = context
        self._blobs = BlobStore(context.store)
        self._images = StoredImages.open(context.images_dir).array if images is None else images
        self._on_device: ResidentImages | None = None
        self._supervisions: dict[SupervisionDigests, Supervision] = {}

    def train(self, task: TrainTask) -> TrainOutcome:
        """Train the replicas of a task on the same batches, store their checkpoints, and encode the probe images.

        A loss, weight or code that is not finite in one of them makes the outcome ``nan``; exceptions are the caller's.
        """
        indices = None if task.subset is None else self._indices(task.subset)
        size = len(self._images) if indices is None else len(indices)
        batch = min(round(task.hyperparameters["batch_size"]), size)
        replicas, age = self._start(task, size)
        group = Group(replicas, self._context)
        with group.training():
            steps = self._steps(task, group, age, size if indices is None else indices, batch)
        losses, image_passes = tuple(group.means()), group.passes
        diverged = _diverged(replicas, group)
        encoded = [] if diverged else [self._encode_probe(task, replica, indices, batch) for replica in replicas]
        diverged += [place for place, codes in enumerate(encoded) if not _is_finite(codes)]
        if diverged:
            names = ", ".join(str(task.key.replicas[place]) for place in diverged)
            error = f"not finite after {steps} steps: replica {names}"
            return TrainOutcome(task.key, "nan", losses=losses, image_passes=image_passes, error=error)
        checkpoints = [dump(replica.objective, replica.optimizers, age + steps) for replica in replicas]
        return TrainOutcome(
            task.key,
            "ok",
            checkpoints=tuple(map(self._blobs.put, checkpoints)),
            codes=self._blobs.put_array(np.stack([replica.codes for replica in encoded]), durable=False),
            information=tuple(tuple(replica.information.tolist()) for replica in encoded),
            losses=losses,
            image_passes=image_passes,
        )

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """Encode a set of images with a trained replica and store its codes."""
        objective = LatentModel.from_checkpoint(self._blobs.get(task.checkpoint)).objective.to(self._context.device)
        indices = None if task.subset is None else self._indices(task.subset)
        encoded = encode(objective, self._images, indices)
        log_sigma = None if encoded.log_sigma is None else self._blobs.put_array(encoded.log_sigma)
        return EncodeOutcome(self._blobs.put_array(encoded.codes), log_sigma, tuple(encoded.information.tolist()))

    def _steps(self, task: TrainTask, group: Group, age: int, drawn: IntArray | int, batch: int) -> int:
        """Train for one generation; return how many steps were taken, fewer where a replica diverged."""
        key, context, streams = task.key, self._context, Streams(task.seed)
        order = streams.generator("data", key.round, key.generation, key.member)
        pairing = streams.generator("pairs", key.round, key.generation, key.member)
        steps = math.ceil(task.image_passes / batch)
        supervision = self._supervision(task.objective, task.supervision)
        index_batches = batches(drawn, batch, steps, order)
        with contextlib.ExitStack() as stack:

            def step_from_host(step: int) -> None:
                group.step(supervision.batch(self._images, next(index_batches), context.device, pairing), age + step)

            take_step: Callable[[int], None] = step_from_host
            if (resident := self._resident()) is not None:
                feed = resident.feed(supervision, index_batches, pairing)
                take_step = stack.enter_context(replaying(group, feed, age, steps))
            for done in range(1, steps + 1):
                take_step(done - 1)
                if done % _CHECK_STEPS == 0 and not all(group.finite()):
                    return done
        return steps

    def _resident(self) -> ResidentImages | None:
        """Return the images on the GPU, where there is one that has room for them."""
        if self._on_device is None and self._context.device != "cpu":
            self._on_device = ResidentImages.load(self._images, self._context.device)
        return self._on_device

    def _encode_probe(self, task: TrainTask, replica: Replica, indices: IntArray | None, batch: int) -> Encoded:
        """Finalize a trained replica, and encode the probe images with it."""
        objective = replica.objective.eval()
        with torch.no_grad():
            objective.finalize(self._sample_of_training(indices, batch))
        return encode(objective, self._images, self._indices(task.probe))

    def _start(self, task: TrainTask, size: int) -> tuple[list[Replica], int]:
        """Build the replicas, from their checkpoints or with first weights; return them with the steps taken before.

        Raises:
            ValueError: their checkpoints are of different ages.
        """
        built = [self._build(task, place, size) for place in range(len(task.key.replicas))]
        ages = {age for _, age in built}
        if len(ages) > 1:
            raise ValueError(f"the replicas of a member must have taken equally many steps, not {sorted(ages)}")
        return [replica for replica, _ in built], ages.pop()

    def _build(self, task: TrainTask, place: int, size: int) -> tuple[Replica, int]:
        """Build one replica; its first weights come from the stream of its birth, its noise from that of its task."""
        key, context, origin = task.key, self._context, task.origins[place]
        name = (key.round, key.generation, key.member, key.replicas[place])
        first = None
        if origin is None:
            first = torch.Generator().manual_seed(Streams(task.seed).integer("init", *name))
        channels, height, width = self._images.shape[1:]
        shape = (channels, height, width)
        objective = build(task.objective, task.hyperparameters, shape, size, generator=first)
        objective.to(context.device).train()
        optimizers = objective.optimizers()
        age = 0 if origin is None else restore(self._blobs.get(origin), objective, optimizers)
        noise = torch.Generator(context.device).manual_seed(Streams(task.seed).integer("noise", *name))
        return Replica(objective, optimizers, noise), age

    def _sample_of_training(self, indices: IntArray | None, batch: int) -> Iterator[torch.Tensor]:
        """Yield a fixed random part of the training images, for what is fitted after the last step."""
        size = len(self._images) if indices is None else len(indices)
        part = np.random.default_rng(0).permutation(size)[:_FINALIZE_IMAGES]
        chosen = part if indices is None else indices[part]
        for start in range(0, len(chosen), batch):
            yield to_unit(self._images[chosen[start : start + batch]], self._context.device)

    def _supervision(self, options: ObjectiveOptions, digests: SupervisionDigests) -> Supervision:
        """Return what the objective of a task learns from beside the images, read once."""
        if not options.needs:
            return Supervision()
        if digests not in self._supervisions:
            self._supervisions[digests] = Supervision.load(options, digests, self._blobs, len(self._images))
        return self._supervisions[digests]

    def _indices(self, digest: str) -> IntArray:
        return self._blobs.get_array(digest).astype(np.int64, copy=False)


def _diverged(replicas: Sequence[Replica], group: Group) -> list[int]:
    """Return the places of the replicas with a loss or a weight that is not finite."""
    weights = [all(bool(torch.isfinite(p).all()) for p in replica.objective.parameters()) for replica in replicas]
    return [place for place, finite in enumerate(zip(group.finite(), weights, strict=True)) if not all(finite)]


def _is_finite(encoded: Encoded) -> bool:
    return bool(np.isfinite(encoded.codes).all() and np.isfinite(encoded.information).all())
