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
from pbt_disent.rounds.scale import SegmentEdges
from pbt_disent.rounds.setup import RunSetup
from pbt_disent.rounds.subset import SubsetChoice, choose_subset
from pbt_disent.training.tasks import EncodeTask
from pbt_disent.types import FloatArray, IntArray

__all__ = ["LeafLevel", "LeafRun", "train_leaf_run"]


@dataclass(frozen=True)
class LeafLevel:
    """One level of a leaf run: the labels that a model gives to the images that it was trained on.

    Args:
        path: The path of the round that trained the model.
        images: The indices of the images, an array of shape (N,).
        latents: The L latents that were learned.
        codes: The codes of these latents, an array of shape (N, L).
        segments: The segment that each image is in, counted along the latent, an array of shape (N, L); -1 for none.
        confidence: The probability that a draw from the image's posterior lies in that segment, of shape (N, L).
        checkpoint: The digest of the model.
        scales: The scales by which codes become segments, for the latents that could be cut.
        cell: The segment of each scale that the next level is in; empty where there is no next level.
    """

    path: str
    images: IntArray
    latents: tuple[int, ...]
    codes: FloatArray
    segments: IntArray
    confidence: FloatArray
    checkpoint: str
    scales: tuple[SegmentEdges, ...] = ()
    cell: tuple[int, ...] = ()


@dataclass(frozen=True)
class LeafRun:
    """A leaf run: a chain of levels, from all images down to ever smaller subsets.

    Args:
        number: The number of the leaf run, from 1.
        levels: The levels, all images first.
        reason: The reason why it ended.
        image_passes: The image passes that its rounds paid.
    """

    number: int
    levels: tuple[LeafLevel, ...]
    reason: str
    image_passes: int = 0


def train_leaf_run(setup: RunSetup, number: int, best: Best, allowance: int | None = None) -> LeafRun:
    """Train leaf run `number` (from 1) from the best model of the X-run until a stop condition holds.

    Args:
        setup: The run.
        number: The number of the leaf run; each takes another subset of all images.
        best: The best model of the X-run.
        allowance: The number of image passes that it may pay, or None for no limit.
    """
    levels: list[LeafLevel] = []
    image_passes = 0
    images = setup.images
    path = "0"
    while True:
        with setup.lock:  # two leaf runs that encode with the same model write, read and delete the same codes
            level, choice = _label(setup, path, best, images, rank=number - 1 if not levels else 0)
        if level is None:
            reason = f"round {path} learned no latent with enough information"
            break
        levels.append(level)
        next_path = f"0/leaf{number}/{len(levels)}"
        if len(levels) > setup.config.rounds.max_depth:
            reason = f"the greatest depth, {setup.config.rounds.max_depth}, is reached"
            break
        if choice.reason is not None:
            reason = choice.reason
            break
        images = level.images[choice.subset]
        remaining = None if allowance is None else allowance - image_passes
        population = setup.afford(leaf_population(setup.config, len(images)), remaining, len(images))
        if population is None:
            reason = f"the budget leaves {remaining:,} image passes, not enough for a generation of round {next_path}"
            break
        frozen = {str(key): value for key, value in choice.frozen.items()}
        setup.record("cut", next_path, parent=path, num_images=len(images), frozen=frozen)
        result = _ranked_round(setup, next_path, population, images)
        image_passes += result.image_passes
        if result.best is None or result.reason == "nothing_learned":
            reason = f"round {next_path} learned nothing"
            break
        best, path = result.best, next_path
    setup.record("leaf_stopped", f"0/leaf{number}", reason=reason, levels=len(levels))
    return LeafRun(number, tuple(levels), reason, image_passes)


def _ranked_round(setup: RunSetup, path: str, population: PopulationConfig, subset: IntArray) -> PopulationResult:
    fitness: Fitness = population.fitness
    probe = setup.sample(subset, fitness.points, path, "probe")
    return setup.run(path, population, fitness=fitness, subset=subset, probe=probe)


def _label(
    setup: RunSetup, path: str, best: Best, images: IntArray | None, *, rank: int
) -> tuple[LeafLevel | None, SubsetChoice]:
    """Label images with the latents that their best model learned, and choose the subset of the next level."""
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
    choice = choose_subset(codes, noise, learned, setup.config.rounds, rank=rank, min_images=min_images)
    if not learned:
        return None, choice
    columns = list(learned)
    level = LeafLevel(
        path=path,
        images=setup.all_images if images is None else images,
        latents=learned,
        codes=codes[:, columns],
        segments=choice.segments[:, columns],
        confidence=choice.confidence[:, columns],
        checkpoint=best.checkpoint,
        scales=choice.scales,
        cell=choice.cell,
    )
    setup.record(
        "labelled",
        path,
        latents=columns,
        information=[encoded.information[latent] for latent in learned],
        num_images=len(codes),
    )
    return level, choice
