"""Plans of a population: its first draws, the rule applied to its records, and the tasks and records of a plan."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from pbt_disent.population.executor import ScoreTask, TrainedMember
from pbt_disent.population.exploit import Exploit
from pbt_disent.population.exploit.none import NoExploit
from pbt_disent.population.explore import Observation
from pbt_disent.population.fitness import MemberScore
from pbt_disent.population.manifest import Assignment, Manifest, MemberRecord
from pbt_disent.population.rule import Decision, decide, draw_population, survivors
from pbt_disent.population.spec import RoundSpec
from pbt_disent.seeds import Streams
from pbt_disent.training.tasks import Status, TaskKey, TrainOutcome, TrainTask

__all__ = ["decide_records", "first_plan", "make_record", "make_score_task", "make_tasks", "next_plan", "observe"]


def first_plan(spec: RoundSpec) -> tuple[Assignment, ...]:
    """Draw the first population, or take the first step of the schedule that it follows."""
    fresh = (None,) * spec.population.replicas
    if spec.schedule:
        return (_scheduled(spec, 0, fresh),)
    plan: dict[int, Assignment] = {}
    for index, (label, options) in enumerate(spec.objectives.items()):
        members = range(index, spec.population.first_size, len(spec.objectives))
        generator = Streams(spec.seed).generator(spec.path, "draw", *([index] if index else []))
        draws = draw_population(options.space, len(members), generator)
        for member, values in zip(members, draws, strict=True):
            plan[member] = Assignment(
                member=member,
                operation="start",
                parent=None,
                origins=fresh,
                hyperparameters={**options.fixed, **values},
                objective=label,
            )
    return tuple(plan[member] for member in sorted(plan))


def next_plan(spec: RoundSpec, history: Sequence[Manifest], trained: Sequence[MemberRecord]) -> tuple[Assignment, ...]:
    """Decide what the members train next; a first generation that is larger than the others is only thinned out.

    Args:
        spec: The round.
        history: The generations on record, all before the one just trained.
        trained: The records of that one, member by member.
    """
    generation = len(history)
    if spec.schedule:
        (record,) = trained
        if record.score is None:
            return first_plan(spec)
        return (_scheduled(spec, min(generation + 1, len(spec.schedule) - 1), record.checkpoints),)
    is_thinned = len(trained) > spec.population.size
    kept = survivors([record.score for record in trained], spec.population.size)
    records = [trained[index] for index in kept]
    exploit = NoExploit() if is_thinned else spec.population.exploit
    observations = observe(history, trained) if spec.population.explore.needs_observations else {}
    decisions = decide_records(spec, exploit, generation, records, observations)
    fresh = (None,) * spec.population.replicas
    return tuple(
        Assignment(
            member=decision.member,
            operation=decision.operation,
            parent=None if decision.parent is None else kept[decision.parent],
            origins=fresh if decision.parent is None else records[decision.parent].checkpoints,
            hyperparameters=decision.hyperparameters,
            objective=records[decision.member if decision.parent is None else decision.parent].objective,
        )
        for decision in decisions
    )


def decide_records(
    spec: RoundSpec,
    exploit: Exploit,
    generation: int,
    records: Sequence[MemberRecord],
    observations: Mapping[str, Sequence[Observation]],
) -> list[Decision]:
    """Apply the rule of population-based training to the records of all members.

    Args:
        spec: The round.
        exploit: The rule by which members are replaced.
        generation: The generation just scored, which names the random streams.
        records: The records, one for each member in order.
        observations: What was observed of each objective so far, for rules that learn from it.
    """
    return decide(
        [record.hyperparameters for record in records],
        [record.score for record in records],
        spaces=[spec.objectives[record.objective].space for record in records],
        exploit=exploit,
        explore=spec.population.explore,
        streams=Streams(spec.seed),
        round_path=spec.path,
        generation=generation,
        replica_scores=[record.replica_scores for record in records],
        objectives=[record.objective for record in records],
        observations=observations,
    )


def observe(history: Sequence[Manifest], trained: Sequence[MemberRecord]) -> dict[str, list[Observation]]:
    """Return by objective what each member's training was worth, in each generation but the first, oldest first.

    Args:
        history: The generations on record, all before the one just trained.
        trained: The records of that one, member by member.
    """
    observations: dict[str, list[Observation]] = {}
    generations = [*(manifest.members for manifest in history), tuple(trained)]
    for generation, (before, after) in enumerate(itertools.pairwise(generations), start=1):
        scores = {record.member: record.score for record in before}
        for record in after:
            start = None if record.parent is None else scores.get(record.parent)
            if start is not None and record.score is not None:
                observation = Observation(generation, record.hyperparameters, start, record.score)
                observations.setdefault(record.objective, []).append(observation)
    return observations


def _scheduled(spec: RoundSpec, step: int, origins: Sequence[str | None]) -> Assignment:
    """Return a step of the schedule; a member with no checkpoint to start from starts afresh."""
    is_fresh = origins[0] is None
    return Assignment(
        member=0,
        operation="start" if is_fresh else "continue",
        parent=None if is_fresh else 0,
        origins=tuple(origins),
        hyperparameters=spec.schedule[step],
        objective=next(iter(spec.objectives)),
    )


def make_tasks(spec: RoundSpec, generation: int, plan: Sequence[Assignment]) -> list[TrainTask]:
    """Return a task for every replica, or one for all of a member; those of a member in the order of its replicas.

    Args:
        spec: The round.
        generation: The number of the generation, from 0; in asynchronous training the turn of the member.
        plan: The assignments of the members.
    """
    all_replicas = tuple(range(spec.population.replicas))
    groups = [all_replicas] if spec.together else [(replica,) for replica in all_replicas]
    return [
        TrainTask(
            key=TaskKey(spec.path, generation, assignment.member, replicas),
            seed=spec.seed,
            objective=spec.objectives[assignment.objective],
            origins=tuple(assignment.origins[replica] for replica in replicas),
            hyperparameters=assignment.hyperparameters,
            image_passes=spec.population.image_passes_per_generation,
            subset=spec.subset,
            probe=spec.probe,
            supervision=spec.supervision,
        )
        for assignment in plan
        for replicas in groups
    ]


def make_score_task(
    spec: RoundSpec, generation: int, outcomes: Mapping[int, Sequence[TrainOutcome]]
) -> ScoreTask | None:
    """Return the task to score the members that trained without error, together, or None if none did.

    Args:
        spec: The round.
        generation: The number of the generation, from 0; in asynchronous training the turn of the member.
        outcomes: The outcomes of the replicas of each member, by its index.
    """
    members = tuple(
        TrainedMember(
            member,
            tuple(outcome.codes for outcome in replicas if outcome.codes is not None),
            tuple(row for outcome in replicas for row in outcome.information),
        )
        for member, replicas in outcomes.items()
        if _status(replicas) == "ok"
    )
    return ScoreTask(spec.path, generation, spec.fitness, members, spec.labels) if members else None


def _status(replicas: Sequence[TrainOutcome]) -> Status:
    """A member is as good as its worst replica."""
    statuses = {outcome.status for outcome in replicas}
    return "failed" if "failed" in statuses else "nan" if "nan" in statuses else "ok"


def make_record(assignment: Assignment, replicas: Sequence[TrainOutcome], score: MemberScore | None) -> MemberRecord:
    """Return the record of a member that has trained; without a finite score nothing of it is kept.

    Args:
        assignment: The assignment of the member.
        replicas: The outcomes of its replicas.
        score: The score of the member, or None if it has none.
    """
    is_scored = score is not None and math.isfinite(score.score)
    return MemberRecord(
        member=assignment.member,
        operation=assignment.operation,
        parent=assignment.parent,
        hyperparameters=assignment.hyperparameters,
        status=_status(replicas),
        score=score.score if score and is_scored else None,
        replica_scores=score.replica_scores if score and is_scored else (),
        checkpoints=tuple(digest for outcome in replicas for digest in outcome.checkpoints) if is_scored else (),
        codes=tuple(outcome.codes for outcome in replicas if outcome.codes is not None) if is_scored else (),
        information=tuple(row for outcome in replicas for row in outcome.information) if is_scored else (),
        losses=tuple(loss for outcome in replicas for loss in outcome.losses) if is_scored else (),
        image_passes=sum(outcome.image_passes for outcome in replicas),
        error=next((outcome.error for outcome in replicas if outcome.error), None),
        objective=assignment.objective,
    )
