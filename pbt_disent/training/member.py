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
from pbt_disent.training.checkpoint import dump, restore
from pbt_disent.training.gpu import DeviceImages, graphed_steps
from pbt_disent.training.loop import Replica, ReplicaGroup, batches
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
"""The number of steps between two checks that losses are finite."""
_FINALIZE_IMAGES = 5000
"""The number of training images, at most, on which a trained model is finalized."""


class Trainer:
    """Trains any task of one run; holds nothing between tasks but the images and what objectives learn from.

    Args:
        context: The context of the run, which says where blobs and images are and on what device tasks are trained.
        images: The images, (N, C, H, W), where they are not to be read from the folder in the context.
    """

    def __init__(self, context: WorkerContext, images: UInt8Array | None = None) -> None:
        if context.device == "cpu":
            torch.set_num_threads(1)
        self._context = context
        self._blobs = BlobStore(context.store)
        self._images = StoredImages.open(context.images_dir).array if images is None else images
        self._device_images: DeviceImages | None = None
        self._supervisions: dict[tuple[SupervisionDigests, frozenset[str]], Supervision] = {}

    def train(self, task: TrainTask) -> TrainOutcome:
        """Train the replicas of a task on the same batches, store their checkpoints, and encode the probe images.

        A loss, weight or code that is not finite in one of them makes the outcome ``nan``.

        Raises:
            UserError: The labels or pairs of the run do not fit the images or the objective, or a checkpoint is of
                another objective.
            CorruptBlob: A blob that the task names is missing or damaged.
        """
        supervision = self._supervision(task.objective, task.supervision)
        indices = None if task.subset is None else self._indices(task.subset)
        num_images = len(self._images) if indices is None else len(indices)
        batch_size = min(round(task.hyperparameters["batch_size"]), num_images)
        replicas, age = self._start(task, num_images)
        group = ReplicaGroup(replicas, self._context)
        with group.training():
            steps = self._steps(task, group, age, num_images if indices is None else indices, batch_size, supervision)
        losses, image_passes = tuple(group.loss_means()), group.image_passes
        diverged = _diverged(replicas, group)
        encodings: list[Encoded] = []
        if not diverged:
            encodings = [self._encode_probe(task, replica, indices, batch_size) for replica in replicas]
        diverged += [index for index, encoded in enumerate(encodings) if not _is_finite(encoded)]
        if diverged:
            names = ", ".join(str(task.key.replicas[index]) for index in diverged)
            error = f"not finite after {steps} steps: replica {names}"
            return TrainOutcome(task.key, "nan", losses=losses, image_passes=image_passes, error=error)
        checkpoints = [dump(replica.objective, replica.optimizers, age + steps) for replica in replicas]
        return TrainOutcome(
            task.key,
            "ok",
            checkpoints=tuple(map(self._blobs.put, checkpoints)),
            codes=self._blobs.put_array(np.stack([encoded.codes for encoded in encodings]), durable=False),
            information=tuple(tuple(encoded.information.tolist()) for encoded in encodings),
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

    def _steps(
        self,
        task: TrainTask,
        group: ReplicaGroup,
        age: int,
        indices: IntArray | int,
        batch_size: int,
        supervision: Supervision,
    ) -> int:
        """Train for one generation; return how many steps were taken, fewer where a replica diverged."""
        key, device, streams = task.key, self._context.device, Streams(task.seed)
        order = streams.generator("data", key.round, key.generation, key.member)
        pairing = streams.generator("pairs", key.round, key.generation, key.member)
        steps = math.ceil(task.image_passes / batch_size)
        index_batches = batches(indices, batch_size, steps, order)
        with contextlib.ExitStack() as stack:

            def step_from_host(step: int) -> None:
                group.step(supervision.batch(self._images, next(index_batches), device, pairing), age + step)

            take_step: Callable[[int], None] = step_from_host
            if (device_images := self._images_on_device()) is not None:
                device_batches = device_images.batches(supervision, index_batches, pairing)
                take_step = stack.enter_context(graphed_steps(group, device_batches, age, steps))
            for done in range(1, steps + 1):
                take_step(done - 1)
                if done % _CHECK_STEPS == 0 and not all(group.has_finite_losses()):
                    return done
        return steps

    def _images_on_device(self) -> DeviceImages | None:
        """Return the images on the GPU, where there is one that has room for them."""
        if self._device_images is None and self._context.device != "cpu":
            self._device_images = DeviceImages.load(self._images, self._context.device)
        return self._device_images

    def _encode_probe(self, task: TrainTask, replica: Replica, indices: IntArray | None, batch_size: int) -> Encoded:
        """Finalize a trained replica, and encode the probe images with it."""
        objective = replica.objective.eval()
        with torch.no_grad():
            objective.finalize(self._sample_of_training(indices, batch_size))
        return encode(objective, self._images, self._indices(task.probe))

    def _start(self, task: TrainTask, num_images: int) -> tuple[list[Replica], int]:
        """Build the replicas, from their checkpoints or with first weights; return them with the steps taken before.

        Raises:
            ValueError: Their checkpoints are of different ages.
        """
        built = [self._build(task, index, num_images) for index in range(len(task.key.replicas))]
        ages = {age for _, age in built}
        if len(ages) > 1:
            raise ValueError(f"the replicas of a member must have taken equally many steps, not {sorted(ages)}")
        return [replica for replica, _ in built], ages.pop()

    def _build(self, task: TrainTask, index: int, num_images: int) -> tuple[Replica, int]:
        """Build one replica; its first weights come from the stream of its birth, its noise from that of its task."""
        key, context, origin = task.key, self._context, task.origins[index]
        name = (key.round, key.generation, key.member, key.replicas[index])
        init = None
        if origin is None:
            init = torch.Generator().manual_seed(Streams(task.seed).integer("init", *name))
        channels, height, width = self._images.shape[1:]
        shape = (channels, height, width)
        objective = build(task.objective, task.hyperparameters, shape, num_images, generator=init)
        objective.to(context.device).train()
        optimizers = objective.optimizers()
        age = 0 if origin is None else restore(self._blobs.get(origin), objective, optimizers)
        noise = torch.Generator(context.device).manual_seed(Streams(task.seed).integer("noise", *name))
        return Replica(objective, optimizers, noise), age

    def _sample_of_training(self, indices: IntArray | None, batch_size: int) -> Iterator[torch.Tensor]:
        """Yield a fixed random part of the training images, for what is fitted after the last step."""
        num_images = len(self._images) if indices is None else len(indices)
        order = np.random.default_rng(0).permutation(num_images)[:_FINALIZE_IMAGES]
        sample = order if indices is None else indices[order]
        for start in range(0, len(sample), batch_size):
            yield to_unit(self._images[sample[start : start + batch_size]], self._context.device)

    def _supervision(self, options: ObjectiveOptions, digests: SupervisionDigests) -> Supervision:
        """Return what the objective of a task learns from in addition to the images, read once."""
        if not options.needs:
            return Supervision()
        key = digests, options.needs
        if key not in self._supervisions:
            self._supervisions[key] = Supervision.load(options, digests, self._blobs, len(self._images))
        return self._supervisions[key]

    def _indices(self, digest: str) -> IntArray:
        return self._blobs.get_array(digest).astype(np.int64, copy=False)


def _diverged(replicas: Sequence[Replica], group: ReplicaGroup) -> list[int]:
    """Return the indices of the replicas with a loss or a weight that is not finite."""
    weights = [all(bool(torch.isfinite(p).all()) for p in replica.objective.parameters()) for replica in replicas]
    finite = zip(group.has_finite_losses(), weights, strict=True)
    return [index for index, checks in enumerate(finite) if not all(checks)]


def _is_finite(encoded: Encoded) -> bool:
    return bool(np.isfinite(encoded.codes).all() and np.isfinite(encoded.information).all())
