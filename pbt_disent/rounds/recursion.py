"""The recursion of rPU-VAE: a first round on all images, then chains of rounds on ever smaller subsets.

Estermann et al. 2020 (arXiv 2010.13527). A leaf run labels the images with the latents that were learned, cuts a subset
in which those latents are constant, and trains a new population there, which can only learn what still varies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pbt_disent.config import PopulationConfig
from pbt_disent.population.engine import Best, PopulationResult
from pbt_disent.rounds.populations import leaf_population
from pbt_disent.rounds.scale import Scale
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.rounds.subset import Cut, cut_subset
from pbt_disent.training.tasks import EncodeTask
from pbt_disent.types import FloatArray, IntArray

__all__ = ["FEWEST_IMAGES", "Leaf", "Level", "first_round", "leaf_run"]

FEWEST_IMAGES = 10
"""That UDR ranks models by."""


@dataclass(frozen=True)
class Level:
    """The labels that one model gives to the set that it was trained on.

    Args:
        path: of the round that trained the model.
        images: (N,) indices of the set's images.
        latents: the L latents that were learned.
        values: (N, L) their codes.
        segments: (N, L) the segment that an image is in, counted along the latent, -1 for none.
        confidence: (N, L) the probability that a draw from the image's posterior lies in that segment.
        checkpoint: digest of the model.
        scales: how codes become segments; of the latents that could be cut.
        cell: the segment of each scale that the level below is in; empty where there is none.
    """

    path: str
    images: IntArray
    latents: tuple[int, ...]
    values: FloatArray
    segments: IntArray
    confidence: FloatArray
    checkpoint: str
    scales: tuple[Scale, ...] = ()
    cell: tuple[int, ...] = ()


@dataclass(frozen=True)
class Leaf:
    """A chain of levels, from all images down, why it ended, and the image passes that its rounds paid."""

    number: int
    levels: tuple[Level, ...]
    reason: str
    paid: int = 0


def first_round(setup: RunSetup, population: PopulationConfig) -> PopulationResult:
    """Run the X-run: one population on all images, ranked without labels; all leaf runs start from its best model."""
    return _run_udr(setup, "0", population, setup.images)


def leaf_run(setup: RunSetup, number: int, best: Best, allowance: int | None = None) -> Leaf:
    """Run leaf run `number` (from 1) from the best model of the X-run until a stop condition holds.

    Args:
        setup: the run.
        number: of the leaf run; each takes another subset of all images.
        best: of the X-run.
        allowance: image passes that it may pay; none for no limit.
    """
    levels: list[Level] = []
    paid = 0
    images = setup.images
    path = "0"
    while True:
        with setup.turn:  # two leaf runs that encode with the same model write, read and delete the same codes
            level, cut = _label(setup, path, best, images, choice=number - 1 if not levels else 0)
        if level is None:
            reason = f"round {path} learned no latent with enough information"
            break
        levels.append(level)
        below = f"0/leaf{number}/{len(levels)}"
        if len(levels) > setup.config.rounds.max_depth:
            reason = f"the greatest depth, {setup.config.rounds.max_depth}, is reached"
            break
        if cut.reason is not None:
            reason = cut.reason
            break
        images = level.images[cut.subset]
        left = None if allowance is None else allowance - paid
        population = setup.afford(leaf_population(setup.config, len(images)), left, len(images))
        if population is None:
            reason = f"the budget leaves {left:,} image passes, not enough for a generation of round {below}"
            break
        frozen = {str(key): value for key, value in cut.frozen.items()}
        setup.record("cut", below, parent=path, images=len(images), frozen=frozen)
        result = _run_udr(setup, below, population, images)
        paid += result.images
        if result.best is None or result.reason == "nothing_learned":
            reason = f"round {below} learned nothing"
            break
        best, path = result.best, below
    setup.record("leaf_stopped", f"0/leaf{number}", reason=reason, levels=len(levels))
    return Leaf(number, tuple(levels), reason, paid)


def _run_udr(setup: RunSetup, path: str, population: PopulationConfig, subset: IntArray | None) -> PopulationResult:
    udr = setup.config.udr
    images = setup.all_images if subset is None else subset
    return setup.run(
        path,
        population,
        subset=subset,
        probe=setup.sample(images, udr.points, path, "probe"),
        fitness="udr",
        options=udr.model_dump(exclude={"points"}),
    )


def _label(setup: RunSetup, path: str, best: Best, images: IntArray | None, *, choice: int) -> tuple[Level | None, Cut]:
    """Label a set with the latents that its best model learned, and cut it along them."""
    subset = None if images is None else setup.blobs.put_array(images.astype(np.int64))
    encoded = setup.executor.encode(EncodeTask(best.checkpoint, subset))
    codes = np.asarray(setup.blobs.get_array(encoded.codes), dtype=np.float64)
    noise = (
        np.zeros(codes.shape[1])
        if encoded.log_sigma is None
        else np.exp(np.median(np.asarray(setup.blobs.get_array(encoded.log_sigma), dtype=np.float64), axis=0))
    )
    setup.blobs.collect([], [digest for digest in (encoded.codes, encoded.log_sigma) if digest])
    threshold = setup.config.rounds.information_threshold
    learned = tuple(latent for latent, nats in enumerate(encoded.information) if nats > threshold)
    least = max(FEWEST_IMAGES, setup.latents)
    cut = cut_subset(codes, noise, learned, setup.config.rounds.segmentation, choice=choice, least=least)
    if not learned:
        return None, cut
    chosen = list(learned)
    level = Level(
        path=path,
        images=setup.all_images if images is None else images,
        latents=learned,
        values=codes[:, chosen],
        segments=cut.segments[:, chosen],
        confidence=cut.confidence[:, chosen],
        checkpoint=best.checkpoint,
        scales=cut.scales,
        cell=cut.cell,
    )
    setup.record(
        "labelled",
        path,
        latents=chosen,
        information=[encoded.information[latent] for latent in learned],
        images=len(codes),
    )
    return level, cut
