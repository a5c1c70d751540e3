"""Steps that a GPU records once and replays, as a CUDA graph: small models wait for the host's launches otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from pbt_disent.training.group import Group
from pbt_disent.training.resident import Feed

__all__ = ["replaying"]

WARM_UP = 3
"""Steps taken one by one first: optimisers make their state, and libraries choose their kernels."""
LANES = 8
"""Replicas that work side by side."""
WORTH = 30
"""Steps below which recording costs more than it saves."""


@contextlib.contextmanager
def replaying(group: Group, feed: Feed, age: int, steps: int) -> Iterator[Callable[[int], None]]:
    """Yield what takes a step of a task, given its place from 0; they must be taken in order.

    The steps are the same, and draw the same noise, whether they are recorded or not.

    Args:
        group: takes the steps, on a GPU.
        feed: its batches.
        age: steps that the member had taken before.
        steps: that the task will take.
    """
    here = torch.cuda.current_stream()
    stream = _stream()
    stream.wait_stream(here)
    with torch.cuda.stream(stream), _recordable(group):
        try:
            yield _Steps(group, feed, age, steps)
        finally:
            for optimizer in group.optimizers:
                optimizer.zero_grad()  # gradients of a recorded step lie in memory that goes with the recording
    here.wait_stream(stream)


def _stream() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


class _Steps:
    def __init__(self, group: Group, feed: Feed, age: int, steps: int) -> None:
        self._group, self._feed, self._age, self._steps = group, feed, age, steps
        self._place = torch.zeros(1, dtype=torch.long, device=feed.rows.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = 0
        self._lanes = [_stream() for _ in range(LANES)]

    def __call__(self, step: int) -> None:
        self._group.set_learning_rates(self._age + step)
        if self._graph is None and self._warm >= WARM_UP:
            self._graph = self._record(step)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._compute(step)
            worth = self._steps - step > WORTH or self._warm
            self._warm += bool(worth and self._group.is_capturable(self._age + step))
        self._group.count(self._feed.num_images)

    def _compute(self, step: int) -> None:
        """Let each replica have a lane (stream) of its own: small models leave room for one another on a GPU."""
        here, used = torch.cuda.current_stream(), set()

        @contextlib.contextmanager
        def lane(index: int) -> Iterator[None]:
            stream = self._lanes[index % len(self._lanes)]
            used.add(stream)
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                yield

        batch = self._feed.batch(self._place)
        self._group.compute(batch, self._age + step, lane)
        for stream in used:
            here.wait_stream(stream)
        self._place.add_(1)

    def _record(self, step: int) -> torch.cuda.CUDAGraph:
        """Record the step; nothing is computed yet."""
        graph = torch.cuda.CUDAGraph()
        for generator in self._group.generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            self._compute(step)
        return graph


@contextlib.contextmanager
def _recordable(group: Group) -> Iterator[None]:
    """Let Adam keep to the device what it would otherwise ask of the host: step counts, and rates that change."""
    parts = [part for optimizer in group.optimizers for part in optimizer.param_groups if "capturable" in part]
    before = [(part["capturable"], part["lr"]) for part in parts]
    for part in parts:
        part["capturable"] = True
        if not group.has_constant_rates:
            part["lr"] = torch.tensor(part["lr"], device=part["params"][0].device)
    try:
        yield
    finally:
        for part, (capturable, rate) in zip(parts, before, strict=True):
            part["capturable"], part["lr"] = capturable, rate
