"""The labels that a run found: the table of them, and the tree of rounds, which labels any other images too.

The table says which image has which value in which learned latent; the tree says which model labels which images, and
where it cuts their codes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pbt_disent.errors import UserError
from pbt_disent.files import write_atomically
from pbt_disent.rounds.joining import LatentId, LearnedFactor
from pbt_disent.rounds.recursion import LeafLevel, LeafRun
from pbt_disent.rounds.scale import Scale
from pbt_disent.types import FloatArray, IntArray, Json

__all__ = ["FORMAT", "TREE_NAME", "RoundTree", "label_images", "label_table", "write_labels"]

FORMAT = 2
"""The version of the label table and of the tree."""

TREE_NAME = "tree.json"
"""The name of the file of the tree, which lies beside the label table."""

Encode = Callable[[str, IntArray], FloatArray]
"""Returns the codes (N, Z) that the model with this checkpoint gives to these images (N,)."""


def label_table(leaf_runs: Sequence[LeafRun], factor_of: Mapping[LatentId, int]) -> pa.Table:
    """Return the labels of all leaf runs as one long table.

    Columns: `image` index in the data set, `leaf` number of the leaf run, `round` path of the round whose model
    gave the label, `level` its depth from 0, `latent`, `value` the code, `segment` counted along the latent (-1 where
    the image is in none), `confidence` the probability that a draw from the image's posterior lies in that segment,
    `factor` number of the learned factor that the latent was joined into (-1 for none). The schema's metadata carries
    the format version.

    Args:
        leaf_runs: The leaf runs with the labels that they gave.
        factor_of: The number of the factor of each latent.
    """
    parts = [
        (leaf_run.number, depth, level, column, latent)
        for leaf_run in leaf_runs
        for depth, level in enumerate(leaf_run.levels)
        for column, latent in enumerate(level.latents)
    ]
    sizes = np.asarray([len(level.images) for _, _, level, _, _ in parts], dtype=np.int64)
    paths = list(dict.fromkeys(level.path for _, _, level, _, _ in parts))

    def repeat(values: Sequence[int]) -> pa.Array:
        return pa.array(np.repeat(np.asarray(values, dtype=np.int32), sizes))

    def concatenate(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(arrays) if arrays else np.empty(0)

    columns = {
        "image": pa.array(concatenate([level.images for _, _, level, _, _ in parts]).astype(np.int64)),
        "leaf": repeat([number for number, *_ in parts]),
        "round": pa.DictionaryArray.from_arrays(
            repeat([paths.index(level.path) for _, _, level, _, _ in parts]), pa.array(paths, pa.string())
        ),
        "level": repeat([depth for _, depth, *_ in parts]),
        "latent": repeat([latent for *_, latent in parts]),
        "value": pa.array(concatenate([level.codes[:, column] for _, _, level, column, _ in parts]).astype(np.float32)),
        "segment": pa.array(
            concatenate([level.segments[:, column] for _, _, level, column, _ in parts]).astype(np.int32)
        ),
        "confidence": pa.array(
            concatenate([level.confidence[:, column] for _, _, level, column, _ in parts]).astype(np.float32)
        ),
        "factor": repeat([factor_of.get((level.path, latent), -1) for _, _, level, _, latent in parts]),
    }
    return pa.table(columns).replace_schema_metadata({"pbt_disent.labels": str(FORMAT)})


def write_labels(leaf_runs: Sequence[LeafRun], factor_of: Mapping[LatentId, int], path: Path) -> None:
    """Write the label table as parquet, whole or not at all.

    Args:
        leaf_runs: The leaf runs with the labels that they gave.
        factor_of: The number of the factor of each latent.
        path: The path of the file.
    """
    buffer = io.BytesIO()
    pq.write_table(label_table(leaf_runs, factor_of), buffer, compression="zstd")
    write_atomically(path, buffer.getvalue())


@dataclass(frozen=True)
class RoundTree:
    """The leaf runs of a run without their images, and the learned factors that their latents were joined into.

    Args:
        leaf_runs: The leaf runs.
        factors: The learned factors.
    """

    leaf_runs: tuple[LeafRun, ...]
    factors: tuple[LearnedFactor, ...]

    @property
    def factor_of(self) -> dict[LatentId, int]:
        """The number of the factor of each latent."""
        return {latent: number for number, factor in enumerate(self.factors) for latent in factor.members}

    def write(self, path: Path) -> None:
        """Write the tree as JSON, whole or not at all."""
        document = {
            "format": FORMAT,
            "leaves": [
                {"leaf": leaf_run.number, "reason": leaf_run.reason, "levels": [_to_json(x) for x in leaf_run.levels]}
                for leaf_run in self.leaf_runs
            ],
            "factors": [
                {"members": [list(x) for x in factor.members], "signs": factor.signs, "agreement": factor.agreement}
                for factor in self.factors
            ],
        }
        write_atomically(path, (json.dumps(document, indent=1) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> RoundTree:
        """Read a tree.

        Raises:
            UserError: There is none, or it is damaged, or of another format.
        """
        if not path.exists():
            raise UserError(f"run {path.parent.parent}", "has found no labels", "take a run of rpu-vae, or use encode")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            version = document.get("format")
            if version == FORMAT:
                return cls._from_json(document)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            reason = str(error) or type(error).__name__
            raise UserError(f"{path}", f"is damaged ({reason})", "resume the run, which writes it again") from error
        remedy = "label with the version that made the run"
        raise UserError(f"{path} of format {version}", f"must have format {FORMAT}", remedy)

    @classmethod
    def _from_json(cls, document: Json) -> RoundTree:
        return cls(
            tuple(
                LeafRun(leaf["leaf"], tuple(_from_json(level) for level in leaf["levels"]), leaf["reason"])
                for leaf in document["leaves"]
            ),
            tuple(
                LearnedFactor(
                    tuple((path, latent) for path, latent in factor["members"]),
                    tuple(factor["signs"]),
                    factor["agreement"],
                )
                for factor in document["factors"]
            ),
        )


def label_images(tree: RoundTree, encode: Encode, images: IntArray) -> list[LeafRun]:
    """Return the leaf runs with the labels that their models give to any images.

    An image goes down a leaf run as long as it lies in the segments that the next level was trained in.

    Args:
        tree: The tree of a run.
        encode: A function that encodes images with a model of the run.
        images: The indices of the images, an array of shape (N,).
    """
    codes_of_all: dict[str, FloatArray] = {}
    leaf_runs = []
    for leaf_run in tree.leaf_runs:
        remaining = images
        levels = []
        for level in leaf_run.levels:
            if len(remaining) < len(images):
                codes = encode(level.checkpoint, remaining)
            else:
                if level.checkpoint not in codes_of_all:
                    codes_of_all[level.checkpoint] = encode(level.checkpoint, images)
                codes = codes_of_all[level.checkpoint]
            labelled, in_cell = _labelled(level, codes, remaining)
            levels.append(labelled)
            remaining = remaining[in_cell]
            if len(remaining) == 0:
                break
        leaf_runs.append(replace(leaf_run, levels=tuple(levels)))
    return leaf_runs


def _labelled(level: LeafLevel, codes: FloatArray, images: IntArray) -> tuple[LeafLevel, IntArray]:
    """Return a level with the labels of these images, and the positions of those that are in its cell."""
    segments = np.full((len(images), codes.shape[1]), -1, dtype=np.int64)
    confidence = np.zeros(codes.shape)
    in_cell = np.full(len(images), bool(level.cell))
    for number, scale in enumerate(level.scales):
        scale_segments, scale_confidence = scale.assign(codes)
        for latent in scale.latents:
            segments[:, latent], confidence[:, latent] = scale_segments, scale_confidence
        if level.cell:
            in_cell &= scale_segments == level.cell[number]
    learned = list(level.latents)
    labelled = replace(
        level,
        images=images,
        codes=codes[:, learned].astype(np.float64),
        segments=segments[:, learned],
        confidence=confidence[:, learned],
    )
    return labelled, np.flatnonzero(in_cell)


def _to_json(level: LeafLevel) -> Json:
    return {
        "path": level.path,
        "checkpoint": level.checkpoint,
        "latents": list(level.latents),
        "scales": [scale.to_json() for scale in level.scales],
        "cell": list(level.cell),
    }


def _from_json(document: Json) -> LeafLevel:
    latents = tuple(document["latents"])
    empty = np.empty((0, len(latents)))
    return LeafLevel(
        path=document["path"],
        images=np.empty(0, dtype=np.int64),
        latents=latents,
        codes=empty,
        segments=empty.astype(np.int64),
        confidence=empty,
        checkpoint=document["checkpoint"],
        scales=tuple(Scale.from_json(scale) for scale in document["scales"]),
        cell=tuple(document["cell"]),
    )
