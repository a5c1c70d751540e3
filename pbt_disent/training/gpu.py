"""Training on a GPU: all images of a run lie in its memory, and steps are captured as a CUDA graph and replayed.

A batch is gathered on the GPU, and only its indices come from the host. Small models would otherwise wait for the
host's launches of their kernels. The results are those of training without either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pbt_disent.models.contract import Batch
from pbt_disent.training.loop import ReplicaGroup
from pbt_disent.training.supervision import Supervision
from pbt_disent.types import IntArray, UInt8Array

__all__ = ["DeviceBatches", "DeviceImages", "graphed_steps"]

MAX_MEMORY_SHARE = 0.25
"""The largest share of the GPU's free memory for images; several workers may share it, and training needs room too."""
WARMUP_STEPS = 3
"""The number of steps taken one by one before the capture: optimisers make their state, libraries choose kernels."""
NUM_STREAMS = 8
"""The number of replicas that work side by side."""
MIN_STEPS = 30
"""With fewer steps left, a capture costs more than it saves."""


@dataclass(frozen=True)
class DeviceImages:
    """The images of a run in the memory of a GPU.

    Args:
        images: The images, (N, C, H, W) uint8.
    """

    images: Tensor

    @classmethod
    def load(cls, images: UInt8Array, device: str) -> DeviceImages | None:
        """Copy images to a GPU; return None where they would take more than `MAX_MEMORY_SHARE` of what is free.

        Args:
            images: The images, (N, C, H, W).
            device: The device, such as ``cuda``.
        """
        free, _ = torch.cuda.mem_get_info(device)
        if images.nbytes > MAX_MEMORY_SHARE * free:
            return None
        copy = torch.empty(images.shape, dtype=torch.uint8, device=device)
        block = max(1, (64 << 20) // max(1, images[:1].nbytes))  # a memory map is never read into one array
        for start in range(0, len(images), block):
            copy[start : start + block] = torch.from_numpy(np.array(images[start : start + block]))
        return cls(copy)

    def batches(
        self, supervision: Supervision, index_batches: Iterable[IntArray], generator: np.random.Generator
    ) -> DeviceBatches:
        """Draw all batches of a task, with their labels and partners, as `Supervision.batch` would one by one.

        Args:
            supervision: The labels and partners, where there are any.
            index_batches: The indices (B,) of each batch.
            generator: The random stream that chooses among the possible partners of an image.
        """
        if supervision.partners is None:
            rows = [indices[None] for indices in index_batches]
        else:
            rows = [np.stack([indices, supervision.pair(indices, generator)]) for indices in index_batches]
        device = self.images.device
        labels = None if supervision.labels is None else torch.from_numpy(supervision.labels).to(device)
        return DeviceBatches(self.images, torch.from_numpy(np.stack(rows)).to(device), labels)


@dataclass(frozen=True)
class DeviceBatches:
    """The batches of a task, gathered on the GPU.

    Args:
        images: All images, (N, C, H, W) uint8.
        indices: The indices of the images in each batch, and of their partners, (steps, 1 or 2, B).
        labels: The class ids of all images, (N, L), -1 where one is not known, or None.
    """

    images: Tensor
    indices: Tensor
    labels: Tensor | None

    @property
    def num_images(self) -> int:
        """The number of images in a batch, partners too."""
        return self.indices.shape[1] * self.indices.shape[2]

    def batch(self, step: Tensor) -> Batch:
        """Return a batch.

        Args:
            step: The number of the batch, (1,), on the GPU, so that a captured gather reads it anew.
        """
        indices = self.indices.index_select(0, step)[0]
        images = self.images.index_select(0, indices.reshape(-1)).to(torch.float32).div_(255)
        parts = images.reshape(*indices.shape, *images.shape[1:])
        labels = None if self.labels is None else self.labels.index_select(0, indices[0])
        mask = None if labels is None else labels >= 0
        return Batch(parts[0], labels, mask, parts[1] if len(indices) > 1 else None)


@contextlib.contextmanager
def graphed_steps(group: ReplicaGroup, batches: DeviceBatches, age: int, steps: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes a step of a task, given its number from 0; steps must be taken in order.

    The steps are the same, and draw the same noise, whether they are captured or not.

    Args:
        group: The replicas, on a GPU.
        batches: The batches of the task.
        age: The number of steps that the member had taken before the task.
        steps: The number of steps that the task will take.
    """
    outer = torch.cuda.current_stream()
    stream = _new_stream()
    stream.wait_stream(outer)
    with torch.cuda.stream(stream), _capturable_optimizers(group):
        try:
            yield _GraphedSteps(group, batches, age, steps)
        finally:
            for optimizer in group.optimizers:
                optimizer.zero_grad()  # gradients of a captured step lie in memory that goes with the graph
    outer.wait_stream(stream)


def _new_stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


class _GraphedSteps:
    def __init__(self, group: ReplicaGroup, batches: DeviceBatches, age: int, steps: int) -> None:
        self._group, self._batches, self._age, self._steps = group, batches, age, steps
        self._step = torch.zeros(1, dtype=torch.long, device=batches.indices.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warmup_steps = 0
        self._streams = [_new_stream() for _ in range(NUM_STREAMS)]

    def __call__(self, step: int) -> None:
        self._group.set_learning_rates(self._age + step)
        if self._graph is None and self._warmup_steps >= WARMUP_STEPS:
            self._graph = self._capture(step)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._compute(step)
            is_worthwhile = self._steps - step > MIN_STEPS or self._warmup_steps
            self._warmup_steps += bool(is_worthwhile and self._group.is_capturable(self._age + step))
        self._group.count(self._batches.num_images)

    def _compute(self, step: int) -> None:
        """Take a step with each replica on a stream of its own: small models leave room for one another on a GPU."""
        outer, streams = torch.cuda.current_stream(), set()

        @contextlib.contextmanager
        def stream_of(index: int) -> Iterator[None]:
            stream = self._streams[index % len(self._streams)]
            streams.add(stream)
            stream.wait_stream(outer)
            with torch.cuda.stream(stream):
                yield

        batch = self._batches.batch(self._step)
        self._group.compute(batch, self._age + step, stream_of)
        for stream in streams:
            outer.wait_stream(stream)
        self._step.add_(1)

    def _capture(self, step: int) -> torch.cuda.CUDAGraph:
        """Capture the step as a CUDA graph; nothing is computed yet."""
        graph = torch.cuda.CUDAGraph()
        for generator in self._group.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            self._compute(step)
        return graph


@contextlib.contextmanager
def _capturable_optimizers(replicas: ReplicaGroup) -> Iterator[None]:
    """Let Adam keep on the device what it would otherwise ask of the host: step counts, and rates that change."""
    groups = [group for optimizer in replicas.optimizers for group in optimizer.param_groups if "capturable" in group]
    saved = [(group["capturable"], group["lr"]) for group in groups]
    for group in groups:
        group["capturable"] = True
        if not replicas.has_constant_rates:
            group["lr"] = torch.tensor(group["lr"], device=group["params"][0].device)
    try:
        yield
    finally:
        for group, (capturable, rate) in zip(groups, saved, strict=True):
            group["capturable"], group["lr"] = capturable, rate
