from __future__ import annotations

from pbt_disent.population.manifest import Manifest, MemberRecord
from pbt_disent.report.lineage import Step, ancestors, replacements, winner


def generation(number: int, *members: tuple[float | None, str, int | None]) -> Manifest:
    records = tuple(
        MemberRecord(
            member=index,
            operation=operation,
            parent=parent,
            hyperparameters={"lr": 1.0},
            status="ok" if score is not None else "nan",
            score=score,
            replica_scores=(),
            checkpoints=(),
            codes=(),
            information=(),
            losses=(),
            image_passes=1,
            error=None,
            objective="betatcvae",
        )
        for index, (score, operation, parent) in enumerate(members)
    )
    return Manifest(round="0", identity="f", generation=number, members=records, next=(), image_passes=1)


HISTORY = [
    generation(0, (0.1, "start", None), (0.2, "start", None), (None, "start", None)),
    generation(1, (0.3, "exploit", 1), (0.2, "continue", 1), (0.1, "exploit", 0)),
    generation(2, (0.2, "continue", 0), (None, "restart", None), (0.5, "exploit", 0)),
    generation(3, (0.5, "exploit", 2), (0.1, "continue", 1), (0.4, "continue", 2)),
]


def test_the_winner_is_the_best_of_all_generations_and_the_earliest_among_equals() -> None:
    assert winner(HISTORY) == Step(2, 2)
    assert winner(HISTORY[:1]) == Step(0, 1)
    assert winner([generation(0, (None, "start", None))]) is None
    assert winner([]) is None


def test_ancestors_go_through_every_replacement() -> None:
    assert ancestors(HISTORY, Step(2, 2)) == [Step(0, 1), Step(1, 0), Step(2, 2)]
    assert ancestors(HISTORY, Step(3, 1)) == [Step(2, 1), Step(3, 1)], "a fresh start has no ancestors"
    assert ancestors(HISTORY, None) == []


def test_replacements_are_those_that_did_not_go_on() -> None:
    found = [(generation, record.member, record.parent) for generation, record in replacements(HISTORY)]
    assert found == [(1, 0, 1), (1, 2, 0), (2, 1, None), (2, 2, 0), (3, 0, 2)]
