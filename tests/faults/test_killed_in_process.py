"""The driver is killed with SIGKILL on the in-process executor: at every phase, and at every change of a file."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pbt_disent import files
from pbt_disent.population.engine import run_population
from pbt_disent.population.events import Event, Phase
from pbt_disent.population.journal import RoundJournal
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.log import AppendOnlyLog
from tests.faults.small_population import kill_this_process, long, run_in_child, train_population
from tests.population.fakes import FakeExecutor, Watch, journal, manifests, spec

KILLED = -signal.SIGKILL


class KillAtPhase:
    """Kills this process at a phase of a generation."""

    def __init__(self, generation: int, name: str) -> None:
        self._at = generation, name

    def notify(self, event: Event) -> None:
        if isinstance(event, Phase) and (event.generation, event.name) == self._at:
            kill_this_process()


def killed_at_call(owner: Any, name: str, call: int, *, before: bool) -> Callable[[Path], None]:
    """Return a run that is killed before or after a function is called for the nth time, counted from 0."""

    def run(folder: Path) -> None:
        original, calls = getattr(owner, name), iter(range(10**6))

        def wrapper(*args: Any, **options: Any) -> Any:
            last = next(calls) == call
            if last and before:
                kill_this_process()
            result = original(*args, **options)
            if last:
                kill_this_process()
            return result

        setattr(owner, name, wrapper)
        train_population(folder)

    return run


def killed_after(phase: str) -> Callable[[Path], None]:
    """Return a run that is killed when a phase of generation 1 has passed."""
    return lambda folder: train_population(folder, KillAtPhase(1, phase))


# A generation stores 6 checkpoints and 6 arrays of codes; one blob, the probe, is stored before.
PHASES: dict[str, tuple[Callable[[Path], None], int]] = {
    "after train": (killed_after("trained"), 1),
    "after score": (killed_after("scored"), 1),
    "after decision": (killed_after("decided"), 1),
    "before checkpoint write": (killed_at_call(BlobStore, "put", 15, before=True), 1),
    "after checkpoint write": (killed_at_call(BlobStore, "put", 15, before=False), 1),
    "before manifest commit": (killed_at_call(RoundJournal, "commit", 1, before=True), 1),
    "between manifest and lineage": (killed_at_call(AppendOnlyLog, "append", 1, before=True), 2),
    "before garbage collection": (killed_at_call(BlobStore, "collect", 3, before=True), 3),
    "after manifest commit": (killed_after("committed"), 2),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train_population(folder)  # in this process, so that its children need not warm up
    assert len(manifests(folder)) == 3
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_killed_at_a_phase(tmp_path: Path, undisturbed: Path, phase: str) -> None:
    run, committed = PHASES[phase]
    assert run_in_child(lambda: run(tmp_path)) == KILLED
    assert len(manifests(tmp_path)) == committed
    assert run_in_child(lambda: train_population(tmp_path)) == 0
    assert_equal(tmp_path, undisturbed)


def assert_equal(folder: Path, other: Path) -> None:
    assert manifests(folder) == manifests(other)
    assert (folder / "lineage.jsonl").read_bytes() == (other / "lineage.jsonl").read_bytes()
    assert BlobStore(folder / "blobs").digests() == BlobStore(other / "blobs").digests()


OPERATIONS: list[tuple[Any, str]] = [
    (files.os, "fsync"),
    (files.os, "link"),
    (Path, "write_bytes"),
    (Path, "replace"),
    (Path, "unlink"),
]


def simulate(folder: Path) -> None:
    """Run a population that trains nothing and keeps everything on disk as a real one does."""
    round_journal, store, lease = journal(folder)
    round_journal.collect_garbage([])
    run_population(spec(size=3, generations=3), FakeExecutor(store), round_journal, Watch())  # type: ignore[arg-type]
    lease.release()


def record_operations(operations: list[str]) -> None:
    for owner, name in OPERATIONS:
        original = getattr(owner, name)

        def counted(*args: Any, _call: Any = original, _name: str = name, **options: Any) -> Any:
            operations.append(_name)
            return _call(*args, **options)

        setattr(owner, name, counted)


def kill_at_operation(number: int) -> None:
    calls = iter(range(10**6))
    for owner, name in OPERATIONS:
        original = getattr(owner, name)

        def counted(*args: Any, _call: Any = original, **options: Any) -> Any:
            if next(calls) == number:
                kill_this_process()
            return _call(*args, **options)

        setattr(owner, name, counted)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The simulated population undisturbed, and how many operations on files it takes."""
    folder = tmp_path_factory.mktemp("whole")

    def work() -> None:
        operations: list[str] = []
        record_operations(operations)
        simulate(folder)
        (folder / "operations").write_text(str(len(operations)))

    assert run_in_child(work) == 0
    return folder, int((folder / "operations").read_text())


def check_kill_at(number: int, folder: Path, whole: Path) -> None:
    def work() -> None:
        kill_at_operation(number)
        simulate(folder)

    assert run_in_child(work) == KILLED, f"operation {number}"
    assert run_in_child(lambda: simulate(folder)) == 0, f"operation {number}"
    assert_equal(folder, whole)


def test_killed_at_a_sample_of_all_changes_of_files(tmp_path: Path, whole: tuple[Path, int]) -> None:
    folder, operations = whole
    assert operations > 150
    for number in random.Random(1).sample(range(operations), 12):
        check_kill_at(number, tmp_path / str(number), folder)


@long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_every_change_of_a_file(tmp_path: Path, whole: tuple[Path, int]) -> None:
    folder, operations = whole
    for number in range(operations):
        check_kill_at(number, tmp_path / str(number), folder)


def test_a_child_that_is_not_killed_is_told_from_one_that_is() -> None:
    assert run_in_child(lambda: None) == 0
    assert run_in_child(kill_this_process) == KILLED
