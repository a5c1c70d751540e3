"""The rule of population-based training as pure functions: scores in, decisions out.

Truncation selection and perturbation by default (Jaderberg et al. 2017, arXiv 1711.09846; values of Estermann et al.
2020, arXiv 2010.13527): the worst `ceil(cutoff * n)` members are replaced, each by a copy of a member drawn uniformly
from the best `ceil(cutoff * n)`, and each searched hyperparameter of the copy is multiplied by a factor of its own.
Other rules are in `exploit` and `explore`, by name. Beyond the papers: members without a finite score are always
replaced, every value stays within its bounds, and each draw comes from a stream named by seed, round, generation and
member.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pbt_disent.config import Hyperparameter, PopulationConfig
from pbt_disent.population.exploit import Exploit, Ranking
from pbt_disent.population.explore import Explore, ExploreContext, Observation, Offspring
from pbt_disent.seeds import Streams
from pbt_disent.types import Hyperparameters

__all__ = ["Decision", "Operation", "StopReason", "decide", "draw", "draw_population", "stop_reason", "survivors"]

Operation = Literal["start", "continue", "exploit", "restart"]
StopReason = Literal["converged", "nothing_learned", "max_generations"]


@dataclass(frozen=True)
class Decision:
    """What becomes of one member in the next generation.

    Args:
        member: The index of the member.
        operation: ``continue`` as it is, ``exploit`` a copy of `parent`, or ``restart`` from a fresh draw.
        parent: The member whose checkpoint is continued, or None for a restart.
        hyperparameters: The values to train the next generation with.
    """

    member: int
    operation: Operation
    parent: int | None
    hyperparameters: Hyperparameters


def draw(space: Mapping[str, Hyperparameter], generator: np.random.Generator) -> Hyperparameters:
    """Draw every hyperparameter between its bounds, uniformly on its own scale.

    Args:
        space: The searched hyperparameters.
        generator: The random stream.
    """
    return {name: space[name].from_unit(float(generator.random())) for name in sorted(space)}


def draw_population(
    space: Mapping[str, Hyperparameter], size: int, generator: np.random.Generator
) -> list[Hyperparameters]:
    """Draw a first population as a Latin hypercube: each hyperparameter has one member in each of `size` equal strata.

    So even a small population covers the whole range of every hyperparameter.

    Args:
        space: The searched hyperparameters.
        size: The number of members.
        generator: The random stream.
    """
    members: list[Hyperparameters] = [{} for _ in range(size)]
    for name in sorted(space):
        strata = generator.permutation(size) + generator.random(size)
        for member, fraction in zip(members, strata / size, strict=True):
            member[name] = space[name].from_unit(float(fraction))
    return members


def survivors(scores: Sequence[float | None], size: int) -> list[int]:
    """Return the indices of the `size` best members, ascending: what is left of a first generation that was larger.

    Scores that are None, NaN or infinite are worst; ties keep the lower index.

    >>> survivors([0.4, None, 0.9, 0.9], 2)
    [2, 3]
    """

    def key(index: int) -> tuple[float, int]:
        score = scores[index]
        return (-score if score is not None and math.isfinite(score) else math.inf, index)

    return sorted(sorted(range(len(scores)), key=key)[:size])


def decide(
    members: Sequence[Hyperparameters],
    scores: Sequence[float | None],
    *,
    spaces: Sequence[Mapping[str, Hyperparameter]],
    exploit: Exploit,
    explore: Explore,
    streams: Streams,
    round_path: str,
    generation: int,
    replica_scores: Sequence[Sequence[float]] = (),
    objectives: Sequence[str] = (),
    observations: Mapping[str, Sequence[Observation]] | None = None,
) -> list[Decision]:
    """Decide which members are replaced by copies of which others, with which hyperparameters.

    >>> from pbt_disent.population.exploit.truncation import Truncation
    >>> from pbt_disent.population.explore.perturb import Perturb
    >>> space = {"beta": Hyperparameter(default=4.0, low=1.0, high=100.0)}
    >>> decisions = decide(
    ...     [{"beta": 4.0}, {"beta": 8.0}],
    ...     [0.2, 0.7],
    ...     spaces=[space, space],
    ...     exploit=Truncation(cutoff=0.5),
    ...     explore=Perturb(perturb_factors=(2.0,)),
    ...     streams=Streams(0),
    ...     round_path="0",
    ...     generation=0,
    ... )
    >>> [(decision.operation, decision.parent, decision.hyperparameters) for decision in decisions]
    [('exploit', 1, {'beta': 16.0}), ('continue', 1, {'beta': 8.0})]

    Args:
        members: The hyperparameters that each member was trained with.
        scores: The fitness of each member, higher is better; None, NaN and infinite are worst.
        spaces: The searched hyperparameters of each member; a copy has those of its parent.
        exploit: The rule by which members are replaced.
        explore: The rule by which the hyperparameters of copies are changed.
        streams: The random streams of the run.
        round_path: The path of the round, which names the streams.
        generation: The generation just scored, which names the streams.
        replica_scores: The scores of each member's replicas; empty where they do not matter.
        objectives: The objective of each member; members of one objective have the same space. Empty for one objective.
        observations: What was observed of each objective so far, for rules that learn from it.

    Returns:
        One decision per member, in order. Ties rank by index, the lower index first.
    """
    generators: dict[int, np.random.Generator] = {}

    def stream(member: int) -> np.random.Generator:
        if member not in generators:
            generators[member] = streams.generator(round_path, "explore", generation, member)
        return generators[member]

    ranking = Ranking(scores, replica_scores or [()] * len(members))
    parents = exploit.select(ranking, stream)
    scored, donors = set(ranking.ranked), [donor for donor in exploit.donors(ranking) if donor not in parents]
    for member in range(len(members)):
        if member not in scored and donors:
            parents[member] = donors[int(stream(member).integers(len(donors)))]
    values: dict[int, Hyperparameters] = {}
    labels = objectives or [""] * len(members)
    for label in sorted({labels[parent] for parent in parents.values()}):
        copies = [member for member in sorted(parents) if labels[parents[member]] == label]
        continuing = [member for member in sorted(scored - parents.keys()) if labels[member] == label]
        context = ExploreContext(
            spaces[parents[copies[0]]],
            generation,
            (observations or {}).get(label, ()),
            [members[member] for member in continuing],
        )
        offspring = [Offspring(members[parents[m]], ranking.score(parents[m]), stream(m)) for m in copies]
        values.update(zip(copies, explore.explore(offspring, context), strict=True))
    return [
        Decision(member, "exploit", parents[member], values[member])
        if member in parents
        else Decision(member, "continue", member, dict(members[member]))
        if member in scored
        else Decision(member, "restart", None, {**members[member], **draw(spaces[member], stream(member))})
        for member in range(len(members))
    ]


def stop_reason(best: Sequence[float | None], population: PopulationConfig) -> StopReason | None:
    """Return why a population stops after these generations, or None if it goes on.

    >>> population = PopulationConfig(converged_change=0.01, converged_generations=2, max_generations=9)
    >>> stop_reason([0.3, 0.5, 0.6], population) is None
    True
    >>> stop_reason([0.3, 0.6, 0.605, 0.605], population)
    'converged'

    Args:
        best: The best score of each generation so far, None where no member had one.
        population: The constants of the rule.

    Returns:
        ``converged``: the best score moved less than `converged_change` in each of the last `converged_generations`
        steps (Estermann et al. 2020, as released); ``nothing_learned``: the same, or out of generations, with a best
        score under `give_up_below`; ``max_generations``; or None.
    """
    steps = population.converged_generations
    recent = best[-steps - 1 :]
    has_converged = len(recent) == steps + 1 and all(
        earlier is not None and later is not None and abs(later - earlier) < population.converged_change
        for earlier, later in itertools.pairwise(recent)
    )
    if not has_converged and len(best) < population.max_generations:
        return None
    scores = [score for score in best if score is not None]
    if not scores or max(scores) < population.give_up_below:
        return "nothing_learned"
    return "converged" if has_converged else "max_generations"
