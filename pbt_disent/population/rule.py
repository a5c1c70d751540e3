"""The rule of population-based training as a pure function: scores in, decisions out.

Truncation selection and perturbation by default (Jaderberg et al. 2017, arXiv 1711.09846; values of Estermann et al.
2020, arXiv 2010.13527): the worst `ceil(cutoff * n)` members are replaced, each by a copy of a member drawn uniformly
from the best `ceil(cutoff * n)`, and each searched hyperparameter of the copy is multiplied by a factor of its own.
Other ways to choose and to move are in `exploit` and `explore`, by name. Beyond the papers: members without a finite
score are always replaced, every value stays within its bounds, and each draw comes from a stream named by seed, round,
generation and member.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pbt_disent.config import Mutable
from pbt_disent.population.exploit import EXPLOIT, Standing
from pbt_disent.population.explore import EXPLORE, Child, Observation, Surroundings
from pbt_disent.population.explore.perturb import mutate
from pbt_disent.seeds import Streams
from pbt_disent.types import Hyperparameters

__all__ = ["Decision", "Operation", "Rule", "decide", "draw", "draw_population", "mutate", "survivors"]

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


def survivors(scores: Sequence[float | None], size: int) -> list[int]:
    """Return the indices of the `size` best members, ascending: what is left of a first generation that was larger.

    Scores that are none, NaN or infinite are worst; ties keep the lower index.
    """

    def place(index: int) -> tuple[float, int]:
        score = scores[index]
        return (-score if score is not None and math.isfinite(score) else math.inf, index)

    return sorted(sorted(range(len(scores)), key=place)[:size])


@dataclass(frozen=True)
class Rule:
    """How a population selects; the fields are those of `PopulationConfig`."""

    cutoff: float
    factors: Sequence[float]
    exploit: str = "truncation"
    explore: str = "perturb"
    significance: float = 0.05
    resample_share: float = 0.25


def decide(
    members: Sequence[Hyperparameters],
    scores: Sequence[float | None],
    *,
    spaces: Sequence[Mapping[str, Mutable]],
    rule: Rule,
    streams: Streams,
    round_path: str,
    generation: int,
    replicas: Sequence[Sequence[float]] = (),
    kinds: Sequence[str] = (),
    observations: Mapping[str, Sequence[Observation]] | None = None,
) -> list[Decision]:
    """Decide who is replaced by whom, with which hyperparameters.

    Args:
        members: the hyperparameters that each member was trained with.
        scores: the fitness of each, higher is better; none, NaN and infinite are worst.
        spaces: the searched hyperparameters of each member; a copy has those of its parent.
        rule: how to select; a cutoff of 0 replaces nobody with a score.
        streams: the run's random streams.
        round_path: path of the round, which names the streams.
        generation: the generation just scored, which names the streams.
        replicas: the scores of each member's replicas; none where that does not matter.
        kinds: the objective of each member; members of a kind have the same space. None for one kind.
        observations: what was seen of each kind so far, for rules that learn from it.

    Returns:
        One decision per member, in order. Ties rank by index, the lower index first.
    """
    generators: dict[int, np.random.Generator] = {}

    def stream(member: int) -> np.random.Generator:
        if member not in generators:
            generators[member] = streams.generator(round_path, "explore", generation, member)
        return generators[member]

    standing = Standing(scores, replicas or [()] * len(members), rule.cutoff, rule.significance)
    pairs = EXPLOIT[rule.exploit](standing, stream)
    fit, donors = set(standing.ranked), [one for one in standing.donors if one not in pairs]
    for member in range(len(members)):
        if member not in fit and donors:
            pairs[member] = donors[int(stream(member).integers(len(donors)))]
    seen = observations or {}
    values: dict[int, Hyperparameters] = {}
    names = kinds or [""] * len(members)
    for kind in sorted({names[parent] for parent in pairs.values()}):
        children = [member for member in sorted(pairs) if names[pairs[member]] == kind]
        going_on = [member for member in sorted(fit - pairs.keys()) if names[member] == kind]
        surroundings = Surroundings(
            spaces[pairs[children[0]]],
            rule.factors,
            rule.resample_share,
            generation,
            seen.get(kind, ()),
            [members[member] for member in going_on],
        )
        copies = [Child(members[pairs[one]], standing.score(pairs[one]), stream(one)) for one in children]
        values.update(zip(children, EXPLORE[rule.explore](copies, surroundings), strict=True))
    return [
        Decision(member, "exploit", pairs[member], values[member])
        if member in pairs
        else Decision(member, "continue", member, dict(members[member]))
        if member in fit
        else Decision(member, "restart", None, {**members[member], **draw(spaces[member], stream(member))})
        for member in range(len(members))
    ]
