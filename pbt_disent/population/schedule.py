"""The winner's schedule: which hyperparameters the weights of a round's best member were trained with, step by step.

Read from the lineage alone. What a population-based run has found is as much this schedule as the model (Jaderberg et
al. 2017): it can be followed again, by a single model, at a fraction of the cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pbt_disent.errors import UserError, nearest
from pbt_disent.types import Hyperparameters, Json

__all__ = ["Schedule", "winners_schedule"]


@dataclass(frozen=True)
class Schedule:
    """What the winner of a round was trained with.

    Args:
        path: of the round.
        kind: the objective.
        generation: in which it had its score.
        member: the winner then.
        score: the highest of the round.
        steps: complete hyperparameters, one set for each generation of the weights' life.
    """

    path: str
    kind: str
    generation: int
    member: int
    score: float
    steps: tuple[Hyperparameters, ...]


class _Ways:
    """The steps behind every member, as the rows of a round pass by."""

    def __init__(self) -> None:
        self._kind: dict[int, str] = {}
        self._values: dict[int, Hyperparameters] = {}
        self._steps: dict[int, tuple[Hyperparameters, ...]] = {}
        self._trained: tuple[dict[int, str], dict[int, tuple[Hyperparameters, ...]], dict[int, Hyperparameters]]
        self._trained = {}, {}, {}

    def pass_by(self, row: Json) -> None:
        member, event = row["member"], row["event"]
        if event == "born":
            self._kind[member], self._values[member], self._steps[member] = row["kind"], row["hyperparameters"], ()
        elif event == "trained":
            self._steps[member] = (*self._steps[member], self._values[member])
            self._trained = dict(self._kind), dict(self._steps), dict(self._values)
        elif event in {"replaced", "moved"}:
            # Whom a member copies is meant as it was when it had trained, whatever becomes of that one itself.
            parent = row["by"] if event == "replaced" else row["from"]
            if parent is not None:
                kinds, steps, values = self._trained
                self._kind[member], self._steps[member], self._values[member] = (
                    kinds[parent],
                    steps[parent],
                    values[parent],
                )
        elif event == "mutated":
            self._values[member] = row["hyperparameters"]

    def of(self, member: int) -> tuple[str, tuple[Hyperparameters, ...]]:
        return self._kind[member], self._steps[member]


def winners_schedule(rows: Iterable[Json], path: str | None = None) -> Schedule:
    """Return the schedule of the member with the highest score in a round, the earliest one among equals.

    Where rounds were trained again because an earlier one had changed, the last time counts. In asynchronous training a
    copy is taken for one of its parent's latest state, which it may have missed by a turn.

    Args:
        rows: of a lineage log, in order.
        path: of the round; by default the last one in the log.

    Raises:
        UserError: there is no such round, or nobody in it ever had a score.
    """
    given = list(rows)
    known = list(dict.fromkeys(row["round"] for row in given if row.get("event") == "finished"))
    if not known:
        raise UserError("lineage", "holds no generation that has ended", "give that of a run which has trained one")
    chosen = known[-1] if path is None else path
    if chosen not in known:
        raise UserError(f"round {chosen}", "is not in the lineage", nearest(chosen, known))
    ways, best, last = _Ways(), None, -1
    for row in given:
        if row["round"] != chosen:
            continue
        if row["generation"] < last:
            ways, best = _Ways(), None
        last = row["generation"]
        if row["event"] == "scored" and row["score"] is not None and (best is None or row["score"] > best.score):
            kind, steps = ways.of(row["member"])
            best = Schedule(chosen, kind, row["generation"], row["member"], row["score"], steps)
        elif row["event"] in {"born", "trained", "replaced", "moved", "mutated"}:
            ways.pass_by(row)
    if best is None:
        raise UserError(f"round {chosen}", "has no member with a score, so no winner", "choose another with --round")
    return best
