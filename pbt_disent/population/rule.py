"""The rule of population-based training as a pure function: scores in, decisions out.

Truncation selection and perturbation (Jaderberg et al. 2017, arXiv 1711.09846; values of Estermann et al. 2020,
arXiv 2010.13527): the worst `ceil(cutoff * n)` members are replaced, each by a copy of a member drawn uniformly
from the best `ceil(cutoff * n)`, and each searched hyperparameter of the copy is multiplied by a factor of its own.
Beyond the papers: members without a finite score are always replaced, and every value stays within its bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pbt_disent.config import Mutable
from pbt_disent.seeds import Streams
from pbt_disent.types import Hyperparameters

__all__ = ["Decision", "Operation", "decide", "draw", "draw_population", "mutate", "survivors"]

Operation = Literal["start", "continue", "exploit", "restart"]


@dataclass(frozen=True)
class Decision:
    """What becomes of one member in the next generation.

    Args:
        member: index of the member.
        operation: ``continue`` as it is, ``exploit`` a copy of `parent`, or ``restart`` from a fresh draw.
        parent: the member whose checkpoint is continued; none for a restart.
        hyperparameters: the values to train the next generation with.
    """

    member: int
    operation: Operation
    parent: int | None
    hyperparameters: Hyperparameters


def draw(space: Mapping[str, Mutable], generator: np.random.Generator) -> Hyperparameters:
    """Draw every hyperparameter between its bounds, uniformly on its own scale."""
    return {name: space[name].at(float(generator.random())) for name in sorted(space)}


def draw_population(space: Mapping[str, Mutable], size: int, generator: np.random.Generator) -> list[Hyperparameters]:
    """Draw a first population as a Latin hypercube: each hyperparameter has one member in each of `size` equal strata.

    So even a small population covers the whole range of every hyperparameter.
    """
    members: list[Hyperparameters] = [{} for _ in range(size)]
    for name in sorted(space):
        strata = generator.permutation(size) + generator.random(size)
        for member, place in zip(members, strata / size, strict=True):
            member[name] = space[name].at(float(place))
    return members


def mutate(
    values: Hyperparameters, space: Mapping[str, Mutable], factors: Sequence[float], generator: np.random.Generator
) -> Hyperparameters:
    """Multiply each searched value by an independently drawn factor, within its bounds.

    A whole number that rounding would leave in place moves by one in the factor's direction.
    """
    child = dict(values)
    for name in sorted(space):
        factor = float(factors[int(generator.integers(len(factors)))])
        before = values[name]
        after = space[name].clip(before * factor)
        if space[name].integer and after == before and factor != 1:
            after = space[name].clip(before + math.copysign(1, factor - 1))
        child[name] = after
    return child


def survivors(scores: Sequence[float | None], size: int) -> list[int]:
    """Return the indices of the `size` best members, ascending: what is left of a first generation that was larger.

    Scores that are none, NaN or infinite are worst; ties keep the lower index.
    """

    def place(index: int) -> tuple[float, int]:
        score = scores[index]
        return (-score if score is not None and math.isfinite(score) else math.inf, index)

    return sorted(sorted(range(len(scores)), key=place)[:size])


def decide(
    members: Sequence[Hyperparameters],
    scores: Sequence[float | None],
    *,
    spaces: Sequence[Mapping[str, Mutable]],
    cutoff: float,
    factors: Sequence[float],
    streams: Streams,
    round_path: str,
    generation: int,
) -> list[Decision]:
    """Decide who is replaced by whom, with which hyperparameters.

    Args:
        members: the hyperparameters that each member was trained with.
        scores: the fitness of each, higher is better; none, NaN and infinite are worst.
        spaces: the searched hyperparameters of each member; a copy has those of its parent.
        cutoff: share replaced and share copied from, at most 0.5; 0 replaces nobody with a score.
        factors: what a mutation multiplies by.
        streams: the run's random streams.
        round_path: path of the round, which names the streams.
        generation: the generation just scored, which names the streams.

    Returns:
        One decision per member, in order. Ties rank by index, the lower index first.
    """
    size = len(members)
    usable = {index: score for index, score in enumerate(scores) if score is not None and math.isfinite(score)}
    ranked = sorted(usable, key=lambda index: (-usable[index], index))
    count = min(math.ceil(cutoff * size), size // 2)
    unusable = size - len(ranked)
    replaced = set(range(size)) - set(ranked) | set(ranked[len(ranked) - max(count - unusable, 0) :])
    donors = [index for index in ranked[:count] if index not in replaced]
    decisions = []
    for member in range(size):
        if member not in replaced:
            decisions.append(Decision(member, "continue", member, dict(members[member])))
            continue
        generator = streams.generator(round_path, "explore", generation, member)
        if donors:
            parent = donors[int(generator.integers(len(donors)))]
            child = mutate(members[parent], spaces[parent], factors, generator)
            decisions.append(Decision(member, "exploit", parent, child))
        else:
            fresh = {**members[member], **draw(spaces[member], generator)}
            decisions.append(Decision(member, "restart", None, fresh))
    return decisions
