"""What the members of a population train next: first draws, and the rule applied to what is on record."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from pbt_disent.config import PopulationConfig
from pbt_disent.population.explore import Observation
from pbt_disent.population.manifest import Assignment, Manifest, MemberRecord
from pbt_disent.population.rule import Decision, Rule, decide, draw_population, survivors
from pbt_disent.population.spec import RoundSpec
from pbt_disent.seeds import Streams

__all__ = ["decide_records", "first_plan", "next_plan", "observe"]


def first_plan(spec: RoundSpec) -> tuple[Assignment, ...]:
    """Draw the first population, or take the first step of the schedule that it follows."""
    if spec.schedule:
        return (_scheduled(spec, 0, "start", (None,) * spec.population.replicas),)
    none = (None,) * spec.population.replicas
    plan: dict[int, Assignment] = {}
    for index, kind in enumerate(spec.kinds):
        members = range(index, spec.population.first_size, len(spec.kinds))
        generator = Streams(spec.seed).generator(spec.path, "draw", *([index] if index else []))
        for member, values in zip(members, draw_population(kind.space, len(members), generator), strict=True):
            plan[member] = Assignment(
                member=member,
                operation="start",
                parent=None,
                origins=none,
                hyperparameters={**kind.fixed, **values},
                kind=kind.name,
            )
    return tuple(plan[member] for member in sorted(plan))


def next_plan(spec: RoundSpec, history: Sequence[Manifest], trained: Sequence[MemberRecord]) -> tuple[Assignment, ...]:
    """Decide what the members train next; a first generation that is larger than the others is only thinned out.

    Args:
        spec: of the round.
        history: the generations on record, all before the one just trained.
        trained: that one, member by member.
    """
    generation = len(history)
    if spec.schedule:
        (record,) = trained
        if record.score is None:
            return first_plan(spec)
        return (_scheduled(spec, min(generation + 1, len(spec.schedule) - 1), "continue", record.checkpoints),)
    thinned = len(trained) > spec.population.size
    kept = survivors([record.score for record in trained], spec.population.size)
    records = [trained[index] for index in kept]
    population = spec.population.model_copy(update={"cutoff": 0.0}) if thinned else spec.population
    seen = observe(history, trained) if population.explore == "pb2" else {}
    decisions = decide_records(spec, population, generation, records, seen)
    none = (None,) * spec.population.replicas
    return tuple(
        Assignment(
            member=decision.member,
            operation=decision.operation,
            parent=None if decision.parent is None else kept[decision.parent],
            origins=none if decision.parent is None else records[decision.parent].checkpoints,
            hyperparameters=decision.hyperparameters,
            kind=records[decision.member if decision.parent is None else decision.parent].kind,
        )
        for decision in decisions
    )


def decide_records(
    spec: RoundSpec,
    population: PopulationConfig,
    generation: int,
    records: Sequence[MemberRecord],
    seen: Mapping[str, Sequence[Observation]],
) -> list[Decision]:
    """Apply the rule to records, one for each member in order."""
    spaces = {kind.name: kind.space for kind in spec.kinds}
    return decide(
        [record.hyperparameters for record in records],
        [record.score for record in records],
        spaces=[spaces[record.kind] for record in records],
        rule=Rule(**{name: getattr(population, name) for name in Rule.__dataclass_fields__}),
        streams=Streams(spec.seed),
        round_path=spec.path,
        generation=generation,
        replicas=[record.replica_scores for record in records],
        kinds=[record.kind for record in records],
        observations=seen,
    )


def observe(history: Sequence[Manifest], trained: Sequence[MemberRecord]) -> dict[str, list[Observation]]:
    """Return by kind what each member's training was worth, in each generation but the first, oldest first."""
    seen: dict[str, list[Observation]] = {}
    generations = [*(manifest.members for manifest in history), tuple(trained)]
    for generation, (before, after) in enumerate(itertools.pairwise(generations), start=1):
        scores = {record.member: record.score for record in before}
        for record in after:
            start = None if record.parent is None else scores.get(record.parent)
            if start is not None and record.score is not None:
                one = Observation(generation, record.hyperparameters, start, record.score)
                seen.setdefault(record.kind, []).append(one)
    return seen


def _scheduled(spec: RoundSpec, step: int, operation: str, origins: Sequence[str | None]) -> Assignment:
    return Assignment(
        member=0,
        operation="start" if operation == "start" else "continue",
        parent=None if operation == "start" else 0,
        origins=tuple(origins),
        hyperparameters=spec.schedule[step],
        kind=spec.kinds[0].name,
    )
