from __future__ import annotations

from pathlib import Path

import pytest

from pbt_disent.population.clock import CLOCK, Clock, read_clock, run_usage
from pbt_disent.population.events import GenerationCommitted, Phase, RoundFinished, RoundStarted, TaskDone
from pbt_disent.population.fitness.udr import UDRFitness
from tests.simulated import simulate


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def begin(clock: Clock, path: str = "0") -> None:
    clock.notify(RoundStarted(path, 3, 2, 9, 40, 1000, UDRFitness(), 0))


def play(clock: Clock, time: Time, path: str = "0", generations: int = 2) -> None:
    """A generation trains for 8 s, in two tasks of 500 passes, and is scored and committed in 2 s."""
    for manifest in simulate(path, members=3, generations=generations):
        for _ in range(2):
            time.wait(4)
            clock.notify(TaskDone(path, manifest.generation, 500))
        clock.notify(Phase(path, manifest.generation, "trained"))
        time.wait(2)
        clock.notify(GenerationCommitted(manifest, replayed=False))


def test_seconds_and_passes_add_up(tmp_path: Path) -> None:
    time = Time()
    with Clock(tmp_path, time) as clock:
        time.wait(5)
        begin(clock)
        play(clock, time)
        clock.notify(RoundFinished("0", "converged"))
        time.wait(3)
        begin(clock, "final")
        play(clock, time, "final", generations=1)
        clock.notify(RoundFinished("final", "max_generations"))
        time.wait(7)
    usage = run_usage(read_clock(tmp_path))
    assert usage.seconds == pytest.approx(5 + 20 + 3 + 10 + 7)
    assert (usage.processes, usage.opened) == (1, None)
    first = usage.rounds["0"]
    assert (first.seconds, first.training, first.image_passes) == (pytest.approx(20), pytest.approx(16), 2000)
    assert usage.rounds["final"].image_passes == 1000
    assert (usage.lost_seconds, usage.lost_image_passes) == (0, 0), "what follows a round is no part of a generation"


@pytest.mark.parametrize("killed", [False, True])
def test_a_generation_that_was_not_committed_is_lost(tmp_path: Path, killed: bool) -> None:
    time = Time()
    clock = Clock(tmp_path, time)
    clock.__enter__()
    begin(clock)
    play(clock, time, generations=1)
    time.wait(6)
    clock.notify(TaskDone("0", 1, 500))
    if not killed:
        time.wait(1)
        clock.__exit__(None, None, None)
    before = run_usage(read_clock(tmp_path))
    assert (before.opened is None) == (not killed)
    assert before.current_image_passes == (500 if killed else 0), "what is under way, while it is"
    time.wait(500)
    with Clock(tmp_path, time) as clock:
        begin(clock)
        play(clock, time, generations=1)
        clock.notify(RoundFinished("0", "converged"))
    usage = run_usage(read_clock(tmp_path))
    assert usage.lost_image_passes == 500
    assert usage.lost_seconds == pytest.approx(6 if killed else 7)
    assert usage.seconds == pytest.approx(10 + usage.lost_seconds + 10), "the time between two processes does not count"
    assert usage.processes == 2


def test_what_was_on_record_takes_no_time_again(tmp_path: Path) -> None:
    clock = Clock(tmp_path, Time())
    clock.notify(GenerationCommitted(simulate(members=2, generations=1)[0], replayed=True))
    assert read_clock(tmp_path) == []


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    (tmp_path / CLOCK).write_text('{"event": "opened", "time": 1}\n{"event": "bea\n{"event": "clos')
    assert [row["event"] for row in read_clock(tmp_path)] == ["opened"]


def test_rounds_side_by_side_are_timed_each_by_itself(tmp_path: Path) -> None:
    """One has its first generation in 0 to 10 s and a second one under way, the other its first in 4 to 24 s."""
    time = Time()
    with Clock(tmp_path, time) as clock:
        first_leaf, second_leaf = (simulate(path, members=3, generations=1)[0] for path in ("0/leaf1/1", "0/leaf2/1"))
        begin(clock, first_leaf.round)
        time.wait(4)
        begin(clock, second_leaf.round)
        clock.notify(TaskDone(first_leaf.round, 0, 300))
        time.wait(4)
        clock.notify(Phase(first_leaf.round, 0, "trained"))
        clock.notify(TaskDone(second_leaf.round, 0, 500))
        time.wait(2)
        clock.notify(GenerationCommitted(first_leaf, replayed=False))
        time.wait(10)
        clock.notify(TaskDone(first_leaf.round, 1, 40))
        clock.notify(TaskDone(second_leaf.round, 0, 600))
        clock.notify(Phase(second_leaf.round, 0, "trained"))
        time.wait(4)
        clock.notify(GenerationCommitted(second_leaf, replayed=False))
        clock.notify(RoundFinished(second_leaf.round, "converged"))
        current = run_usage(read_clock(tmp_path))
        time.wait(3)
    assert current.current == {first_leaf.round: 40}
    usage = run_usage(read_clock(tmp_path))
    first, second = usage.rounds[first_leaf.round], usage.rounds[second_leaf.round]
    assert (first.seconds, first.training, first.image_passes) == (10, 8, 300)
    assert (second.seconds, second.training, second.image_passes) == (20, 16, 1100)
    assert (usage.seconds, usage.active_seconds, usage.overlap_seconds) == (27, 27, 20)
    assert (usage.lost_seconds, usage.lost_image_passes) == (17, 40)
    counted = first.seconds + second.seconds + usage.lost_seconds
    assert usage.seconds == usage.active_seconds == counted - usage.overlap_seconds
