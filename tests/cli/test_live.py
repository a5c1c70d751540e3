"""The table of a run on its terminal: a part for each round that is under way."""

from __future__ import annotations

import os

from rich.console import Console

from pbt_disent.cli.live import LiveProgress
from pbt_disent.population.events import GenerationCommitted, RoundFinished, RoundStarted
from pbt_disent.population.fitness.udr import UDRFitness
from tests.simulated import simulate


def rows(progress: LiveProgress) -> list[list[str]]:
    with open(os.devnull, "w") as nowhere:
        console = Console(width=120, record=True, file=nowhere)
        console.print(progress._table())
        text = console.export_text()
    lines = [line.replace("│", " ").split() for line in text.splitlines() if line.startswith("│")]
    return [line[:2] for line in lines if line and line[0][0].isdigit()]


def start(progress: LiveProgress, path: str) -> None:
    progress.notify(RoundStarted(path, 3, 2, 30, 40, 1000, UDRFitness(), 0))


def commit(progress: LiveProgress, path: str, generations: range) -> None:
    for manifest in simulate(path, members=3, generations=generations.stop)[generations.start :]:
        progress.notify(GenerationCommitted(manifest, replayed=False))


def test_rounds_that_run_side_by_side_do_not_mix() -> None:
    progress = LiveProgress(10**6, 100.0)
    start(progress, "0")
    commit(progress, "0", range(2))
    assert rows(progress) == [["0", "1"], ["0", "2"], ["0", "3/30"]]
    progress.notify(RoundFinished("0", "converged"))
    one, other = "0/leaf1/1", "0/leaf2/1"
    start(progress, one)
    start(progress, other)
    for generation in range(2):
        commit(progress, one, range(generation, generation + 1))
        commit(progress, other, range(generation, generation + 1))
    seen = [["0", "1"], ["0", "2"]]
    seen += [[path, number] for path in (one, other) for number in ("1", "2", "3/30")]
    assert rows(progress) == seen
    progress.notify(RoundFinished(one, "converged"))
    assert rows(progress) == [row for row in seen if row != [one, "3/30"]]


def test_the_newest_generations_of_each_round_stay_in_the_table() -> None:
    progress = LiveProgress(10**6, 100.0)
    for path in ("0/leaf1/1", "0/leaf2/1"):
        start(progress, path)
        commit(progress, path, range(20))
    expected = [[path, number] for path in ("0/leaf1/1", "0/leaf2/1") for number in [*map(str, range(9, 21)), "21/30"]]
    assert rows(progress) == expected


def test_a_round_that_goes_on_longer_is_listed_once() -> None:
    progress = LiveProgress(10**6, 100.0)
    start(progress, "0")
    commit(progress, "0", range(2))
    progress.notify(RoundFinished("0", "converged"))
    paid = progress._paid
    start(progress, "0")
    for manifest in simulate("0", members=3, generations=2):
        progress.notify(GenerationCommitted(manifest, replayed=True))
    assert rows(progress) == [["0", "1"], ["0", "2"], ["0", "3/30"]]
    assert progress._paid == paid, "what it paid before is not counted again"
