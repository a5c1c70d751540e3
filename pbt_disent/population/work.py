"""The work of a generation: the tasks of a plan, what is scored of their outcomes, and the record of each member."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pbt_disent.population.executor import ScoreTask
from pbt_disent.population.fitness import MemberScore, ScoredMember
from pbt_disent.population.manifest import Assignment, MemberRecord
from pbt_disent.population.spec import RoundSpec
from pbt_disent.training.tasks import Status, TaskKey, TrainOutcome, TrainTask

__all__ = ["record_of", "score_task", "tasks_of"]


def tasks_of(spec: RoundSpec, generation: int, plan: Sequence[Assignment]) -> list[TrainTask]:
    """Return a task for every replica, or one for all of a member; those of a member in the order of its replicas."""
    every = tuple(range(spec.population.replicas))
    groups = [every] if spec.together else [(replica,) for replica in every]
    names = [kind.name for kind in spec.kinds]
    return [
        TrainTask(
            key=TaskKey(spec.path, generation, assignment.member, replicas),
            seed=spec.seed,
            origins=tuple(assignment.origins[replica] for replica in replicas),
            hyperparameters=assignment.hyperparameters,
            images=spec.population.images_per_generation,
            subset=spec.subset,
            probe=spec.probe,
            kind=names.index(assignment.kind),
            teaching=spec.teaching,
        )
        for assignment in plan
        for replicas in groups
    ]


def score_task(spec: RoundSpec, generation: int, outcomes: Mapping[int, Sequence[TrainOutcome]]) -> ScoreTask | None:
    """Return the task to score the members that trained without error, together; none if there are none."""
    members = tuple(
        ScoredMember(
            member,
            tuple(outcome.codes for outcome in replicas if outcome.codes is not None),
            tuple(row for outcome in replicas for row in outcome.information),
        )
        for member, replicas in outcomes.items()
        if _status(replicas) == "ok"
    )
    return ScoreTask(spec.path, generation, spec.fitness, members, spec.options) if members else None


def _status(replicas: Sequence[TrainOutcome]) -> Status:
    """A member is as good as its worst replica."""
    statuses = {outcome.status for outcome in replicas}
    return "failed" if "failed" in statuses else "nan" if "nan" in statuses else "ok"


def record_of(assignment: Assignment, replicas: Sequence[TrainOutcome], score: MemberScore | None) -> MemberRecord:
    """Return the record of a member that has trained; without a finite score nothing of it is kept."""
    usable = score is not None and math.isfinite(score.score)
    return MemberRecord(
        member=assignment.member,
        operation=assignment.operation,
        parent=assignment.parent,
        hyperparameters=assignment.hyperparameters,
        status=_status(replicas),
        score=score.score if score and usable else None,
        replica_scores=score.replica_scores if score and usable else (),
        checkpoints=tuple(digest for outcome in replicas for digest in outcome.checkpoints) if usable else (),
        codes=tuple(outcome.codes for outcome in replicas if outcome.codes is not None) if usable else (),
        information=tuple(row for outcome in replicas for row in outcome.information) if usable else (),
        losses=tuple(loss for outcome in replicas for loss in outcome.losses) if usable else (),
        images=sum(outcome.images for outcome in replicas),
        error=next((outcome.error for outcome in replicas if outcome.error), None),
        kind=assignment.kind,
    )
