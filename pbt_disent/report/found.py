"""What the rounds found: each learned latent of a round with the segments that it was cut into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pbt_disent.types import FloatArray, IntArray

__all__ = ["FoundLatent", "found_latents"]


@dataclass(frozen=True)
class FoundLatent:
    """A latent that a round learned, and the labels that it gave.

    Args:
        path: of the round.
        latent: its index in the round's best model.
        images: (N,) which images have the label.
        values: (N,) its values.
        segments: (N,) the segment that each image is in, -1 for none.
    """

    path: str
    latent: int
    images: IntArray
    values: FloatArray
    segments: IntArray

    @property
    def name(self) -> str:
        """Round and latent in words."""
        return f"f{self.latent} of round {self.path}"

    @property
    def count(self) -> int:
        """How many segments there are."""
        return len(np.unique(self.segments[self.segments >= 0]))


def found_latents(labels: Path) -> list[FoundLatent]:
    """Read the label table of a run; of a round that several leaf runs share, once. Empty if there is no table."""
    try:
        table = pq.read_table(labels)
    except (OSError, pa.ArrowInvalid):
        return []
    frame = {name: table.column(name).to_numpy() for name in ("image", "leaf", "latent", "value", "segment")}
    rounds = np.asarray(table.column("round").cast(pa.string()).to_pylist(), dtype=object)
    found: dict[tuple[str, int], FoundLatent] = {}
    keys = {(str(path), int(leaf), int(latent)): None for path, leaf, latent in _parts(rounds, frame)}
    for path, leaf, latent in keys:
        if (path, latent) in found:
            continue
        chosen = (rounds == path) & (frame["leaf"] == leaf) & (frame["latent"] == latent)
        found[path, latent] = FoundLatent(
            path, latent, frame["image"][chosen], frame["value"][chosen], frame["segment"][chosen]
        )
    return list(found.values())


def _parts(rounds: npt.NDArray[Any], frame: dict[str, npt.NDArray[Any]]) -> list[tuple[str, int, int]]:
    """Return round, leaf run and latent where any of them changes, in the order of the table."""
    if not len(rounds):
        return []
    change = np.ones(len(rounds), dtype=bool)
    change[1:] = (rounds[1:] != rounds[:-1]) | np.any(
        [frame[name][1:] != frame[name][:-1] for name in ("leaf", "latent")], axis=0
    )
    places = np.flatnonzero(change)
    return [(rounds[place], frame["leaf"][place], frame["latent"][place]) for place in places]
