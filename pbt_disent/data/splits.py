"""The part of a set that is never trained on, fixed by each image's index alone."""

from __future__ import annotations

import numpy as np

from pbt_disent.data.scatter import uniform
from pbt_disent.errors import UserError
from pbt_disent.types import IntArray

__all__ = ["split"]

SEED = 0


def split(length: int, held_out: float = 0.1) -> tuple[IntArray, IntArray]:
    """Return the indices to train on and those held out, both in rising order.

    An image stays on its side when others are added behind it, and no run's seed moves it.

    Args:
        length: N, the number of images; at least 2.
        held_out: the share to hold out, above 0 and below 1; each side has at least one image.

    Raises:
        UserError: a share or a number of images that leaves a side empty.
    """
    if not 0 < held_out < 1 or length < 2:
        raise UserError(f"held out {held_out:g} of {length} images", "leaves a side empty", "hold out 0.1 of 2 or more")
    drawn = uniform(np.arange(length), "held out", SEED)
    out = drawn < held_out
    if not out.any():
        out[drawn.argmin()] = True
    if out.all():
        out[drawn.argmax()] = False
    return np.flatnonzero(~out), np.flatnonzero(out)
