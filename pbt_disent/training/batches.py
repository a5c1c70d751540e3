"""Which images come in which batch: shuffled epochs, one after another, from a named stream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pbt_disent.types import IntArray

__all__ = ["batches"]


def batches(indices: IntArray | int, batch: int, steps: int, generator: np.random.Generator) -> Iterator[IntArray]:
    """Yield `steps` index arrays of `batch` images; each image comes once per epoch, in a new order each time.

    A batch may end one epoch and begin the next.

    Args:
        indices: (N,) the images to draw from, or N for all of N images.
        batch: B, at most N.
        steps: how many batches.
        generator: draws the orders.
    """
    waiting: IntArray = np.empty(0, dtype=np.int64)
    for _ in range(steps):
        while len(waiting) < batch:
            waiting = np.concatenate([waiting, generator.permutation(indices)])
        yield waiting[:batch]
        waiting = waiting[batch:]
