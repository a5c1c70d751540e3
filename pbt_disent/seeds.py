"""Named random streams: every draw in a run comes from a stream named by what it is for, never from global state.

Two streams with different names are independent; a name always gives the same stream. So the order in which
workers run, and how many there are, cannot change a result.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

__all__ = ["Streams"]


@dataclass(frozen=True)
class Streams:
    """The random streams of one run.

    Args:
        seed: the run's seed, any integer.
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
