"""Train one member for one generation: a pure function of the task and of the blobs that it names."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from pbt_disent.data.storage import StoredImages
from pbt_disent.models.contract import Objective
from pbt_disent.models.encoding import Encoded, encode, to_unit
from pbt_disent.models.latent_model import LatentModel
from pbt_disent.models.resolve import build
from pbt_disent.seeds import Streams
from pbt_disent.store.blobs import BlobStore
from pbt_disent.training.batches import batches
from pbt_disent.training.checkpoint import Optimizers, dump, restore
from pbt_disent.training.loop import TermMeans, step_once
from pbt_disent.training.supervision import Supervision
from pbt_disent.training.tasks import EncodeOutcome, EncodeTask, TrainOutcome, TrainTask, WorkerContext
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["Trainer"]

_CHECK_EVERY = 100
_SETTLE_IMAGES = 5000


class Trainer:
    """Trains any task of one run; holds nothing between tasks but the open image store.

    Args:
        context: where blobs and images are, and what is trained.
    """

    def __init__(self, context: WorkerContext) -> None:
        if context.device == "cpu":
            torch.set_num_threads(1)
        self._context = context
        self._blobs = BlobStore(context.store)
        self._images: UInt8Array = StoredImages.open(context.images).array
        self._supervision = Supervision.load(context, self._blobs, len(self._images))

    def train(self, task: TrainTask) -> TrainOutcome:
        """Train every replica of a task, store its checkpoint, and encode the probe images.

        A loss or code that is not finite makes the outcome ``nan``; exceptions are the caller's.
        """
        indices = None if task.subset is None else self._indices(task.subset)
        probe = self._indices(task.probe)
        checkpoints, encoded, losses, paid = list[str](), list[Encoded](), list[dict[str, float]](), 0
        for place in range(len(task.key.replicas)):
            content, means, images = self._replica(task, place, indices)
            paid += images
            if content is None:
                return TrainOutcome(task.key, "nan", losses=(*losses, means), images=paid)
            objective, blob = content
            seen = encode(objective, self._images, probe)
            if not (np.isfinite(seen.codes).all() and np.isfinite(seen.information).all()):
                return TrainOutcome(task.key, "nan", losses=(*losses, means), images=paid)
            checkpoints.append(self._blobs.put(blob))
            encoded.append(seen)
            losses.append(means)
        return TrainOutcome(
            task.key,
            "ok",
            checkpoints=tuple(checkpoints),
            codes=self._blobs.put_array(np.stack([seen.codes for seen in encoded])),
            information=tuple(tuple(seen.information.tolist()) for seen in encoded),
            losses=tuple(losses),
            images=paid,
        )

    def encode(self, task: EncodeTask) -> EncodeOutcome:
        """Encode a set of images with a trained replica and store its codes."""
        objective = LatentModel.from_checkpoint(self._blobs.get(task.checkpoint)).objective.to(self._context.device)
        indices = None if task.subset is None else self._indices(task.subset)
        seen = encode(objective, self._images, indices)
        log_sigma = None if seen.log_sigma is None else self._blobs.put_array(seen.log_sigma)
        return EncodeOutcome(self._blobs.put_array(seen.codes), log_sigma, tuple(seen.information.tolist()))

    def _replica(
        self, task: TrainTask, place: int, indices: IntArray | None
    ) -> tuple[tuple[Objective, bytes] | None, dict[str, float], int]:
        """Train one replica; return it with its checkpoint (none if it diverged), its mean terms and images paid."""
        key, context, streams = task.key, self._context, Streams(task.seed)
        replica = key.replicas[place]
        size = len(self._images) if indices is None else len(indices)
        objective, optimizers, step = self._start(task, place, size)
        batch = min(round(task.hyperparameters["batch_size"]), size)
        steps = math.ceil(task.images / batch)
        noise = torch.Generator(context.device)
        noise.manual_seed(streams.integer("noise", key.round, key.generation, key.member, replica))
        order = streams.generator("data", key.round, key.generation, key.member)
        pairing = streams.generator("pairs", key.round, key.generation, key.member)
        objective.train()
        means = TermMeans()
        for taken, chosen in enumerate(batches(size if indices is None else indices, batch, steps, order), start=1):
            part = self._supervision.batch(self._images, chosen, context.device, pairing)
            means.add(step_once(objective, optimizers, part, step, noise))
            step += 1
            if taken % _CHECK_EVERY == 0 and not means.finite():
                return None, means.values(), taken * batch
        if not (means.finite() and all(bool(torch.isfinite(p).all()) for p in objective.parameters())):
            return None, means.values(), steps * batch
        objective.eval()
        with torch.no_grad():
            objective.settle(self._settling(indices, batch))
        return (objective, dump(context.objective, objective, optimizers, step)), means.values(), steps * batch

    def _start(self, task: TrainTask, place: int, size: int) -> tuple[Objective, Optimizers, int]:
        """Build one replica: from its checkpoint, or with first weights from the stream of its birth."""
        key, context, origin = task.key, self._context, task.origins[place]
        generator = None
        if origin is None:
            generator = torch.Generator()
            birth = ("init", key.round, key.generation, key.member, key.replicas[place])
            generator.manual_seed(Streams(task.seed).integer(*birth))
        channels, height, width = self._images.shape[1:]
        shape = (channels, height, width)
        objective = build(context.objective, context.settings, task.hyperparameters, shape, size, generator=generator)
        objective.to(context.device)
        optimizers = objective.optimizers()
        step = 0 if origin is None else restore(self._blobs.get(origin), context.objective, objective, optimizers)
        return objective, optimizers, step

    def _settling(self, indices: IntArray | None, batch: int) -> Iterator[torch.Tensor]:
        """Yield a fixed random part of the training images, for what is fitted after the last step."""
        size = len(self._images) if indices is None else len(indices)
        part = np.random.default_rng(0).permutation(size)[:_SETTLE_IMAGES]
        chosen = part if indices is None else indices[part]
        for start in range(0, len(chosen), batch):
            yield to_unit(self._images[chosen[start : start + batch]], self._context.device)

    def _indices(self, digest: str) -> IntArray:
        return self._blobs.get_array(digest).astype(np.int64, copy=False)
