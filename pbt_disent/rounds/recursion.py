"""The recursion of rPU-VAE: a first round on all images, then chains of rounds on ever smaller subsets.

Estermann et al. 2020 (arXiv 2010.13527). A leaf run labels the images with the latents that were learned, cuts a subset
in which those latents are constant, and trains a new population there, which can only learn what still varies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pbt_disent.config import PopulationConfig
from pbt_disent.population.engine import Best, PopulationResult
from pbt_disent.population.fitness import Fitness
from pbt_disent.rounds.budget import leaf_population
from pbt_disent.rounds.scale import Scale
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.rounds.subset import Cut, cut_subset
from pbt_disent.training.tasks import EncodeTask
from pbt_disent.types import FloatArray, IntArray

__all__ = ["LabelledSet", "Leaf", "leaf_run"]


@dataclass(frozen=True)
class LabelledSet:
    """The labels that one model gives to the set that it was trained on.

    Args:
        path: The path of the round that trained the model.
        images: The indices of the set's images, (N,).
        latents: The L latents that were learned.
        values: Their codes, (N, L).
        segments: The segment that an image is in, counted along the latent, -1 for none; (N, L).
        confidence: The probability that a draw from the image's posterior lies in that segment, (N, L).
        checkpoint: The digest of the model.
        scales: How codes become segments, for the latents that could be cut.
        cell: The segment of each scale that the level below is in; empty where there is none.
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
    levels: tuple[LabelledSet, ...]
    reason: str
    image_passes: int = 0


def leaf_run(setup: RunSetup, number: int, best: Best, allowance: int | None = None) -> Leaf:
    """Run leaf run `number` (from 1) from the best model of the X-run until a stop condition holds.

    Args:
        setup: The run.
        number: The number of the leaf run; each takes another subset of all images.
        best: The best model of the X-run.
        allowance: The image passes that it may pay, or None for no limit.
    """
    levels: list[LabelledSet] = []
    image_passes = 0
    images = setup.images
    path = "0"
    while True:
        with setup.lock:  # two leaf runs that encode with the same model write, read and delete the same codes
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
        left = None if allowance is None else allowance - image_passes
        population = setup.afford(leaf_population(setup.config, len(images)), left, len(images))
        if population is None:
            reason = f"the budget leaves {left:,} image passes, not enough for a generation of round {below}"
            break
        frozen = {str(key): value for key, value in cut.frozen.items()}
        setup.record("cut", below, parent=path, num_images=len(images), frozen=frozen)
        result = _ranked_round(setup, below, population, images)
        image_passes += result.image_passes
        if result.best is None or result.reason == "nothing_learned":
            reason = f"round {below} learned nothing"
            break
        best, path = result.best, below
    setup.record("leaf_stopped", f"0/leaf{number}", reason=reason, levels=len(levels))
    return Leaf(number, tuple(levels), reason, image_passes)


def _ranked_round(setup: RunSetup, path: str, population: PopulationConfig, subset: IntArray) -> PopulationResult:
    fitness: Fitness = population.fitness
    probe = setup.sample(subset, fitness.points, path, "probe")
    return setup.run(path, population, fitness=fitness, subset=subset, probe=probe)


def _label(
    setup: RunSetup, path: str, best: Best, images: IntArray | None, *, choice: int
) -> tuple[LabelledSet | None, Cut]:
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
    min_images = max(setup.config.population.fitness.min_points, setup.max_latents)
    cut = cut_subset(codes, noise, learned, setup.config.rounds, choice=choice, min_images=min_images)
    if not learned:
        return None, cut
    columns = list(learned)
    level = LabelledSet(
        path=path,
        images=setup.all_images if images is None else images,
        latents=learned,
        values=codes[:, columns],
        segments=cut.segments[:, columns],
        confidence=cut.confidence[:, columns],
        checkpoint=best.checkpoint,
        scales=cut.scales,
        cell=cut.cell,
    )
    setup.record(
        "labelled",
        path,
        latents=columns,
        information=[encoded.information[latent] for latent in learned],
        num_images=len(codes),
    )
    return level, cut
