"""The tree of rounds as a document: which model labels which images, and how. It labels any other images too."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pbt_disent.errors import UserError
from pbt_disent.files import write_atomically
from pbt_disent.rounds.joining import Column, Factor, Place, join
from pbt_disent.rounds.recursion import LabelledSet, Leaf
from pbt_disent.rounds.scale import Scale
from pbt_disent.types import FloatArray, IntArray, Json

__all__ = ["TREE", "Tree", "factors_of", "label_images"]

FORMAT = 1
TREE = "tree.json"
"""Lies beside the label table."""

Encode = Callable[[str, IntArray], FloatArray]
"""Codes (N, Z) that the model with this checkpoint gives to these images (N,)."""


@dataclass(frozen=True)
class Tree:
    """Leaf runs without their images, and the learned factors that their latents were joined into."""

    leaves: tuple[Leaf, ...]
    factors: tuple[Factor, ...]

    @property
    def factor_of(self) -> dict[Place, int]:
        """The number of the factor of each latent that labels."""
        return {place: number for number, factor in enumerate(self.factors) for place in factor.members}

    def write(self, path: Path) -> None:
        """Write the tree as JSON, whole or not at all."""
        document = {
            "format": FORMAT,
            "leaves": [
                {"leaf": leaf.number, "reason": leaf.reason, "levels": [_described(level) for level in leaf.levels]}
                for leaf in self.leaves
            ],
            "factors": [
                {"members": [list(place) for place in one.members], "signs": one.signs, "agreement": one.agreement}
                for one in self.factors
            ],
        }
        write_atomically(path, (json.dumps(document, indent=1) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Tree:
        """Read a tree.

        Raises:
            UserError: there is none, or it is damaged, or of another version.
        """
        if not path.exists():
            raise UserError(f"run {path.parent.parent}", "has found no labels", "take a run of rpu-vae, or use encode")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.get("format") != FORMAT:
                raise UserError(f"{path}", "is of another version", "label with the version that made the run")
            return cls._from_json(document)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            reason = str(error) or type(error).__name__
            raise UserError(f"{path}", f"is damaged ({reason})", "resume the run, which writes it again") from error

    @classmethod
    def _from_json(cls, document: Json) -> Tree:
        return cls(
            tuple(
                Leaf(leaf["leaf"], tuple(_level(level) for level in leaf["levels"]), leaf["reason"])
                for leaf in document["leaves"]
            ),
            tuple(
                Factor(tuple((path, latent) for path, latent in one["members"]), tuple(one["signs"]), one["agreement"])
                for one in document["factors"]
            ),
        )


def factors_of(leaves: Sequence[Leaf], final: FloatArray | None, images: IntArray) -> tuple[Factor, ...]:
    """Join the latents of all leaf runs into learned factors.

    Args:
        leaves: with the labels that they gave.
        final: (N, Z) codes of the final model; none where there is none.
        images: (N,) the images of these codes.

    Returns:
        The factors with at least one latent that labels; those that the final model knows have its latent as well,
        under the round ``final``.
    """
    columns: dict[Place, Column] = {}
    for leaf in leaves:
        for level in leaf.levels:
            order = np.argsort(level.images)
            for column, latent in enumerate(level.latents):
                place = (level.path, latent)
                columns[place] = Column(place, level.images[order], level.values[order, column])
    if final is not None:
        order = np.argsort(images)
        for latent in range(final.shape[1]):
            columns["final", latent] = Column(("final", latent), images[order], final[order, latent])
    found = join(list(columns.values()))
    return tuple(one for one in found if any(path != "final" for path, _ in one.members))


def label_images(tree: Tree, encode: Encode, images: IntArray) -> list[Leaf]:
    """Return the leaf runs with the labels that their models give to any images.

    An image goes down a leaf run as long as it lies in the segments that the next level was trained in.

    Args:
        tree: of a run.
        encode: with the models of the run.
        images: (N,) which images.
    """
    known: dict[str, FloatArray] = {}
    labelled = []
    for leaf in tree.leaves:
        inside = images
        levels = []
        for level in leaf.levels:
            whole = len(inside) == len(images)
            if not (whole and level.checkpoint in known):
                codes = encode(level.checkpoint, inside)
                if whole:
                    known[level.checkpoint] = codes
            codes = known[level.checkpoint] if whole else codes
            now, chosen = _labelled(level, codes, inside)
            levels.append(now)
            inside = inside[chosen]
            if len(inside) == 0:
                break
        labelled.append(replace(leaf, levels=tuple(levels)))
    return labelled


def _labelled(level: LabelledSet, codes: FloatArray, images: IntArray) -> tuple[LabelledSet, IntArray]:
    """Return a level with the labels of these images, and the places of those that are in its chosen cell."""
    segments = np.full((len(images), codes.shape[1]), -1, dtype=np.int64)
    sure = np.zeros(codes.shape)
    inside = np.ones(len(images), dtype=bool) if level.cell else np.zeros(len(images), dtype=bool)
    for place, scale in enumerate(level.scales):
        found, confidence = scale.assign(codes)
        for latent in scale.latents:
            segments[:, latent], sure[:, latent] = found, confidence
        if level.cell:
            inside &= found == level.cell[place]
    chosen = list(level.latents)
    now = replace(
        level,
        images=images,
        values=codes[:, chosen].astype(np.float64),
        segments=segments[:, chosen],
        confidence=sure[:, chosen],
    )
    return now, np.flatnonzero(inside)


def _described(level: LabelledSet) -> Json:
    return {
        "path": level.path,
        "checkpoint": level.checkpoint,
        "latents": list(level.latents),
        "scales": [scale.to_json() for scale in level.scales],
        "cell": list(level.cell),
    }


def _level(given: Json) -> LabelledSet:
    latents = tuple(given["latents"])
    empty = np.empty((0, len(latents)))
    return LabelledSet(
        path=given["path"],
        images=np.empty(0, dtype=np.int64),
        latents=latents,
        values=empty,
        segments=empty.astype(np.int64),
        confidence=empty,
        checkpoint=given["checkpoint"],
        scales=tuple(Scale.from_json(scale) for scale in given["scales"]),
        cell=tuple(given["cell"]),
    )
