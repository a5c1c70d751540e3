"""What `status` and `logs` make of a submitted run's output: data for the one, lines for people for the other."""

from __future__ import annotations

import pytest

from pbt_disent.cli.jobs import progress_of
from pbt_disent.cli.live import LiveProgress, without_records
from pbt_disent.population.events import GenerationCommitted, RoundStarted, TaskDone
from pbt_disent.population.fitness.udr import UDRFitness
from pbt_disent.population.manifest import member_interval
from pbt_disent.tune.supervisor import PROGRESS_RECORDS
from tests.simulated import simulate

RETRIED = "supervisor: ended by signal 9; retry 1 of 3 in 5 s"


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a submitted run prints that was started again in its second generation."""
    monkeypatch.setenv(PROGRESS_RECORDS, "1")
    manifests = simulate(members=4, generations=2, replicas=3)
    for part in (0, 1):
        progress = LiveProgress(10**6, 100.0)
        progress.notify(RoundStarted("0", 4, 3, 30, 40, 1000, UDRFitness(), part))
        progress.notify(TaskDone("0", part, 500_000))
        for number, manifest in enumerate(manifests[: part + 1]):
            progress.notify(GenerationCommitted(manifest, replayed=number < part))
        if part == 0:
            print(RETRIED)
    return capsys.readouterr().out


def test_how_far_a_run_is_is_read_as_data(output: str) -> None:
    first, last = simulate(members=4, generations=2, replicas=3)
    paid = 500_000 + sum(record.image_passes for record in first.members)
    assert last.best is not None
    interval = member_interval(last, last.best, UDRFitness())
    assert interval is not None
    assert progress_of(output) == {
        "round": "0",
        "generation": 2,
        "best": last.best.score,
        "interval": [interval.low, interval.high],
        "seconds_left": pytest.approx(100 * (1 - paid / 10**6)),
        "retry": "ended by signal 9; retry 1 of 3 in 5 s",
    }
    before = progress_of(output.partition(RETRIED)[0])
    assert (before["generation"], before["retry"]) == (1, None)
    assert progress_of("")["generation"] is None


def test_without_scores_and_on_record(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRESS_RECORDS, "1")
    (manifest,) = simulate("0/leaf1/1", members=2, generations=1, failing=[(0, 0), (0, 1)])
    LiveProgress(10**6, 100.0).notify(GenerationCommitted(manifest, replayed=True))
    progress = progress_of(capsys.readouterr().out)
    assert (progress["round"], progress["best"], progress["seconds_left"]) == ("0/leaf1/1", None, None)


@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_people_read_no_records(output: str, size: int) -> None:
    pieces = [output[start : start + size] for start in range(0, len(output), size)]
    shown = "".join(without_records(pieces))
    assert "progress: {" in output
    assert shown == "".join(line for line in output.splitlines(keepends=True) if not line.startswith("progress: "))
    assert RETRIED in shown


def test_only_a_submitted_run_prints_records(capsys: pytest.CaptureFixture[str]) -> None:
    (manifest,) = simulate(members=2, generations=1)
    LiveProgress(10**6, 100.0).notify(GenerationCommitted(manifest, replayed=False))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("  0 generation 1: best ")
