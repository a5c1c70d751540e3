"""Random numbers that belong to an index: the same in any order, any batch and any process."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pbt_disent.seeds import Streams

__all__ = ["uniform"]


def uniform(indices: npt.NDArray[np.int64], name: str, seed: int) -> npt.NDArray[np.float64]:
    """Return one number in [0, 1) per index, by the SplitMix64 mixing function (Steele, Lea and Flood 2014).

    Args:
        indices: any shape, not negative.
        name: what the numbers are for; different names give independent numbers.
        seed: different seeds give independent numbers.
    """
    start = np.uint64(Streams(seed).integer("scatter", name))
    with np.errstate(over="ignore"):
        mixed = start + (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)
