"""The label table: which image has which value in which learned latent, and which round found it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pbt_disent.files import write_atomically
from pbt_disent.rounds.joining import Place
from pbt_disent.rounds.recursion import Leaf

__all__ = ["FORMAT", "label_table", "write_labels"]

FORMAT = 2


def label_table(leaves: Sequence[Leaf], factor_of: Mapping[Place, int]) -> pa.Table:
    """Return the labels of all leaf runs as one long table.

    Columns: `image` index in the data set, `leaf` number of the leaf run, `round` path of the round whose model
    gave the label, `level` its depth from 0, `latent`, `value` the code, `segment` counted along the latent (-1 where
    the image is in none), `confidence` the probability that a draw from the image's posterior lies in that segment,
    `factor` number of the learned factor that the latent was joined into (-1 for none). The schema's metadata carries
    the format version.

    Args:
        leaves: with the labels that they gave.
        factor_of: the number of the factor of each latent.
    """
    parts = [
        (leaf.number, depth, level, column, latent)
        for leaf in leaves
        for depth, level in enumerate(leaf.levels)
        for column, latent in enumerate(level.latents)
    ]
    sizes = np.asarray([len(level.images) for _, _, level, _, _ in parts], dtype=np.int64)
    paths = list(dict.fromkeys(level.path for _, _, level, _, _ in parts))

    def spread(values: Sequence[int]) -> pa.Array:
        return pa.array(np.repeat(np.asarray(values, dtype=np.int32), sizes))

    def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(arrays) if arrays else np.empty(0)

    columns = {
        "image": pa.array(joined([level.images for _, _, level, _, _ in parts]).astype(np.int64)),
        "leaf": spread([number for number, *_ in parts]),
        "round": pa.DictionaryArray.from_arrays(
            spread([paths.index(level.path) for _, _, level, _, _ in parts]), pa.array(paths, pa.string())
        ),
        "level": spread([depth for _, depth, *_ in parts]),
        "latent": spread([latent for *_, latent in parts]),
        "value": pa.array(joined([level.values[:, column] for _, _, level, column, _ in parts]).astype(np.float32)),
        "segment": pa.array(joined([level.segments[:, column] for _, _, level, column, _ in parts]).astype(np.int32)),
        "confidence": pa.array(
            joined([level.confidence[:, column] for _, _, level, column, _ in parts]).astype(np.float32)
        ),
        "factor": spread([factor_of.get((level.path, latent), -1) for _, _, level, _, latent in parts]),
    }
    return pa.table(columns).replace_schema_metadata({"pbt_disent.labels": str(FORMAT)})


def write_labels(leaves: Sequence[Leaf], factor_of: Mapping[Place, int], path: Path) -> None:
    """Write the label table as parquet, whole or not at all."""
    buffer = io.BytesIO()
    pq.write_table(label_table(leaves, factor_of), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())
