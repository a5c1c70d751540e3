"""The lineage of a run: a log of what became of every member, and the winner's schedule that is read from it.

The schedule is the hyperparameters with which the weights of a round's best member were trained, step by step. It is as
much what population-based training finds as the model (Jaderberg et al. 2017, arXiv 1711.09846): it can be followed
again, by a single model, at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pbt_disent.errors import UserError, nearest
from pbt_disent.population.manifest import Assignment, Manifest, MemberRecord
from pbt_disent.types import Hyperparameters, Json

__all__ = ["WinnersSchedule", "lineage_events", "winners_schedule"]


def lineage_events(manifest: Manifest) -> list[Json]:
    """Return the lineage of a generation as rows: born, trained or failed, scored, replaced, mutated, finished.

    A member that goes on in another's place, where a first generation is thinned out, is `moved`. In asynchronous
    training a copy is replaced and mutated in the window in which its turn has ended.

    Args:
        manifest: The manifest of the generation or window.
    """
    generation = {"round": manifest.round, "generation": manifest.generation}
    rows: list[Json] = []
    window = manifest.window
    for record in manifest.played:
        member = {**generation, "member": record.member}
        if window is not None:
            rows.extend(_replacement(member, record))
        if record.operation in {"start", "restart"}:
            rows.append(
                {**member, "event": "born", "objective": record.objective, "hyperparameters": record.hyperparameters}
            )
        if record.status == "ok":
            rows.append(
                {
                    **member,
                    "event": "trained",
                    "image_passes": record.image_passes,
                    "checkpoints": list(record.checkpoints),
                }
            )
        else:
            rows.append({**member, "event": "failed", "status": record.status, "error": record.error})
        rows.append({**member, "event": "scored", "score": record.score, "replica_scores": list(record.replica_scores)})
    for assignment in manifest.next if window is None else ():
        rows.extend(_replacement({**generation, "member": assignment.member}, assignment))
    data = None if manifest.data is None else manifest.data.model_dump()
    rows.append(
        {
            **generation,
            "event": "finished",
            "image_passes": manifest.image_passes,
            "identity": manifest.identity,
            "data": data,
        }
    )
    return rows


def _replacement(member: Json, plan: Assignment | MemberRecord) -> list[Json]:
    if plan.operation == "continue":
        return [] if plan.parent == plan.member else [{**member, "event": "moved", "from": plan.parent}]
    if plan.operation == "start":
        return []
    return [
        {**member, "event": "replaced", "by": plan.parent, "operation": plan.operation},
        {**member, "event": "mutated", "hyperparameters": plan.hyperparameters},
    ]


@dataclass(frozen=True)
class WinnersSchedule:
    """What the winner of a round was trained with.

    Args:
        path: The path of the round.
        objective: The label of its objective.
        generation: The generation in which it had its score.
        member: The index of the winner then.
        score: The highest score of the round.
        steps: The complete hyperparameters, one set for each generation of the weights' life.
    """

    path: str
    objective: str
    generation: int
    member: int
    score: float
    steps: tuple[Hyperparameters, ...]


class _Histories:
    """The training steps behind every member, kept up to date row by row."""

    def __init__(self) -> None:
        self._objectives: dict[int, str] = {}
        self._values: dict[int, Hyperparameters] = {}
        self._steps: dict[int, tuple[Hyperparameters, ...]] = {}
        self._trained: tuple[dict[int, str], dict[int, tuple[Hyperparameters, ...]], dict[int, Hyperparameters]]
        self._trained = {}, {}, {}

    def update(self, row: Json) -> None:
        member, event = row["member"], row["event"]
        if event == "born":
            self._objectives[member], self._values[member] = row["objective"], row["hyperparameters"]
            self._steps[member] = ()
        elif event == "trained":
            self._steps[member] = (*self._steps[member], self._values[member])
            self._trained = dict(self._objectives), dict(self._steps), dict(self._values)
        elif event in {"replaced", "moved"}:
            # A member copies its parent as that was when it had trained, whatever becomes of the parent itself.
            parent = row["by"] if event == "replaced" else row["from"]
            if parent is not None:
                objectives, steps, values = self._trained
                self._objectives[member] = objectives[parent]
                self._steps[member] = steps[parent]
                self._values[member] = values[parent]
        elif event == "mutated":
            self._values[member] = row["hyperparameters"]

    def of(self, member: int) -> tuple[str, tuple[Hyperparameters, ...]]:
        return self._objectives[member], self._steps[member]


def winners_schedule(rows: Iterable[Json], path: str | None = None) -> WinnersSchedule:
    """Return the schedule of the member with the highest score in a round, the earliest one among equals.

    Where rounds were trained again because an earlier one had changed, the last time counts. In asynchronous training a
    copy is taken for one of its parent's latest state, which it may have missed by a turn.

    >>> row = {"round": "0", "generation": 0, "member": 0}
    >>> schedule = winners_schedule(
    ...     [
    ...         {**row, "event": "born", "objective": "betatcvae", "hyperparameters": {"beta": 4.0}},
    ...         {**row, "event": "trained"},
    ...         {**row, "event": "scored", "score": 0.5},
    ...         {**row, "event": "finished"},
    ...     ]
    ... )
    >>> schedule.score, schedule.steps
    (0.5, ({'beta': 4.0},))

    Args:
        rows: The rows of a lineage log, in order.
        path: The path of the round; the default is the last one in the log.

    Raises:
        UserError: There is no such round, or no member of it ever had a score.
    """
    rows = list(rows)
    finished = list(dict.fromkeys(row["round"] for row in rows if row.get("event") == "finished"))
    if not finished:
        raise UserError("lineage", "holds no generation that has ended", "give that of a run which has trained one")
    path = finished[-1] if path is None else path
    if path not in finished:
        raise UserError(f"round {path}", "is not in the lineage", nearest(path, finished))
    histories, best, generation = _Histories(), None, -1
    for row in rows:
        if row["round"] != path:
            continue
        if row["generation"] < generation:
            histories, best = _Histories(), None
        generation = row["generation"]
        if row["event"] == "scored" and row["score"] is not None and (best is None or row["score"] > best.score):
            objective, steps = histories.of(row["member"])
            best = WinnersSchedule(path, objective, generation, row["member"], row["score"], steps)
        elif row["event"] in {"born", "trained", "replaced", "moved", "mutated"}:
            histories.update(row)
    if best is None:
        raise UserError(f"round {path}", "has no member with a score, so no winner", "choose another with --round")
    return best
