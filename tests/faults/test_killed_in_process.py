"""The driver is killed with SIGKILL on the in-process executor: at every phase, and at every change of a file."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pbt_disent.population.engine import run_population
from pbt_disent.population.events import Event, Phase
from pbt_disent.population.journal import RoundJournal
from pbt_disent.store import files
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.log import AppendOnlyLog
from tests.faults.world import die, in_a_child, long, play
from tests.population.fakes import FakeExecutor, Watch, journal, manifests, spec

KILLED = -signal.SIGKILL


class DieAt:
    """Kills this process at a phase of a generation."""

    def __init__(self, generation: int, name: str) -> None:
        self._at = generation, name

    def notify(self, event: Event) -> None:
        if isinstance(event, Phase) and (event.generation, event.name) == self._at:
            die()


def die_at(owner: Any, name: str, call: int, *, before: bool) -> Callable[[Path], None]:
    """Return a run that is killed before or after a function is called for the nth time, counted from 0."""

    def run(folder: Path) -> None:
        original, calls = getattr(owner, name), iter(range(10**6))

        def changed(*args: Any, **options: Any) -> Any:
            last = next(calls) == call
            if last and before:
                die()
            result = original(*args, **options)
            if last:
                die()
            return result

        setattr(owner, name, changed)
        play(folder)

    return run


def die_in(phase: str) -> Callable[[Path], None]:
    """Return a run that is killed when a phase of generation 1 has passed."""
    return lambda folder: play(folder, DieAt(1, phase))


# A generation stores 6 checkpoints and 6 arrays of codes; one blob, the probe, is stored before.
PHASES: dict[str, tuple[Callable[[Path], None], int]] = {
    "after train": (die_in("trained"), 1),
    "after score": (die_in("scored"), 1),
    "after decision": (die_in("decided"), 1),
    "before checkpoint write": (die_at(BlobStore, "put", 15, before=True), 1),
    "after checkpoint write": (die_at(BlobStore, "put", 15, before=False), 1),
    "before manifest commit": (die_at(RoundJournal, "commit", 1, before=True), 1),
    "between manifest and lineage": (die_at(AppendOnlyLog, "append", 1, before=True), 2),
    "before garbage collection": (die_at(BlobStore, "collect", 3, before=True), 3),
    "after manifest commit": (die_in("committed"), 2),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    play(folder)  # in this process, so that its children need not warm up
    assert len(manifests(folder)) == 3
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_killed_at_a_phase(tmp_path: Path, undisturbed: Path, phase: str) -> None:
    run, committed = PHASES[phase]
    assert in_a_child(lambda: run(tmp_path)) == KILLED
    assert len(manifests(tmp_path)) == committed
    assert in_a_child(lambda: play(tmp_path)) == 0
    assert_equal(tmp_path, undisturbed)


def assert_equal(folder: Path, other: Path) -> None:
    assert manifests(folder) == manifests(other)
    assert (folder / "lineage.jsonl").read_bytes() == (other / "lineage.jsonl").read_bytes()
    assert BlobStore(folder / "blobs").digests() == BlobStore(other / "blobs").digests()


OPERATIONS: list[tuple[Any, str]] = [
    (files.os, "fsync"),
    (files.os, "link"),
    (files.os, "fdopen"),
    (Path, "replace"),
    (Path, "unlink"),
]


def simulated(folder: Path) -> None:
    """Play a population that trains nothing and keeps everything on disk as a real one does."""
    book, store, lease = journal(folder)
    book.sweep([])
    run_population(spec(size=3, generations=3), FakeExecutor(store), book, Watch())  # type: ignore[arg-type]
    lease.release()


def count(operations: list[str]) -> None:
    for owner, name in OPERATIONS:
        original = getattr(owner, name)

        def counted(*args: Any, _call: Any = original, _name: str = name, **options: Any) -> Any:
            operations.append(_name)
            return _call(*args, **options)

        setattr(owner, name, counted)


def die_at_operation(number: int) -> None:
    seen = iter(range(10**6))
    for owner, name in OPERATIONS:
        original = getattr(owner, name)

        def counted(*args: Any, _call: Any = original, **options: Any) -> Any:
            if next(seen) == number:
                die()
            return _call(*args, **options)

        setattr(owner, name, counted)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The simulated population undisturbed, and how many operations on files it takes."""
    folder = tmp_path_factory.mktemp("whole")

    def work() -> None:
        operations: list[str] = []
        count(operations)
        simulated(folder)
        (folder / "operations").write_text(str(len(operations)))

    assert in_a_child(work) == 0
    return folder, int((folder / "operations").read_text())


def kill_at(number: int, folder: Path, whole: Path) -> None:
    def work() -> None:
        die_at_operation(number)
        simulated(folder)

    assert in_a_child(work) == KILLED, f"operation {number}"
    assert in_a_child(lambda: simulated(folder)) == 0, f"operation {number}"
    assert_equal(folder, whole)


def test_killed_at_a_sample_of_all_changes_of_files(tmp_path: Path, whole: tuple[Path, int]) -> None:
    folder, operations = whole
    assert operations > 150
    for number in random.Random(1).sample(range(operations), 12):
        kill_at(number, tmp_path / str(number), folder)


@long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_every_change_of_a_file(tmp_path: Path, whole: tuple[Path, int]) -> None:
    folder, operations = whole
    for number in range(operations):
        kill_at(number, tmp_path / str(number), folder)


def test_a_child_that_is_not_killed_is_told_from_one_that_is() -> None:
    assert in_a_child(lambda: None) == 0
    assert in_a_child(die) == KILLED
