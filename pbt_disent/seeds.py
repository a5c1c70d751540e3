"""Named random streams: every draw in a run comes from a stream named by what it is for, never from global state.

Two streams with different names are independent; a name always gives the same stream. So the order in which
workers run, and how many there are, cannot change a result.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Streams", "indexed_uniform"]


@dataclass(frozen=True)
class Streams:
    """The random streams of one run.

    Args:
        seed: The seed of the run, any integer.

    >>> streams = Streams(0)
    >>> bool(streams.generator("probe").random() == streams.generator("probe").random())
    True
    """

    seed: int

    def _digest(self, names: tuple[str | int, ...]) -> bytes:
        key = "\x1f".join(f"{type(name).__name__}:{name}" for name in (self.seed, *names))
        return hashlib.blake2b(key.encode(), digest_size=16).digest()

    def generator(self, *names: str | int) -> np.random.Generator:
        """Return a fresh numpy generator (Philox, 128-bit key) for the stream with these names."""
        return np.random.Generator(np.random.Philox(key=int.from_bytes(self._digest(names), "little")))

    def integer(self, *names: str | int) -> int:
        """Return a 63-bit seed for the stream with these names, for generators of other libraries."""
        return int.from_bytes(self._digest(names)[:8], "little") >> 1


def indexed_uniform(indices: npt.NDArray[np.int64], name: str, seed: int) -> npt.NDArray[np.float64]:
    """Return a random number in [0, 1) for each index, the same in any order, any batch and any process.

    The numbers come from the SplitMix64 mixing function (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195).

    Args:
        indices: The indices, not negative, an array of any shape.
        name: The purpose of the numbers. Different names give independent numbers.
        seed: The seed. Different seeds give independent numbers.

    Example:
        >>> numbers = indexed_uniform(np.arange(100), "held out", seed=0)
        >>> bool((numbers[[7, 3]] == indexed_uniform(np.array([7, 3]), "held out", seed=0)).all())
        True
    """
    start = np.uint64(Streams(seed).integer("scatter", name))
    with np.errstate(over="ignore"):
        mixed = start + (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53)
