"""A disk that is full, or that answers slowly or with errors."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pbt_disent.errors import PbtDisentError
from pbt_disent.files import StorageFailed, storage_failure
from pbt_disent.population import recovery
from pbt_disent.population.events import Observers, Phase
from pbt_disent.store.blobs import BlobStore
from pbt_disent.store.filesystem import LocalFiles
from tests.conftest import missing
from tests.faults.small_population import train_population
from tests.population.fakes import manifests

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train_population(folder)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "pbt-disent-test", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode != 0:
        missing("root", "a small file system needs root and mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # the images are mapped still


def fill(folder: Path, leave: int) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        file.write(b"\0" * (free(folder) - leave))
    return ballast


def free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


class FillDisk:
    """Fills the disk when the first generation is committed."""

    def __init__(self, disk: Path, leave: int) -> None:
        self._disk, self._leave = disk, leave
        self.ballast: Path | None = None

    def notify(self, event: object) -> None:
        if isinstance(event, Phase) and event.name == "committed" and self.ballast is None:
            self.ballast = fill(self._disk, self._leave)


def train_on(disk: Path, monkeypatch: pytest.MonkeyPatch, observer: Any = None) -> None:
    try:
        train_population(disk / "run", observer)
    except OSError as error:  # as pbt_disent.api.execute does
        raise storage_failure(error) from error


@pytest.mark.parametrize("spare", [0, 1_000_000], ids=["hit", "seen in time"])
def test_a_full_disk_loses_nothing(
    small_disk: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    """Without a reserve the disk is hit in the middle of a generation; with one the generation is not begun."""
    monkeypatch.setattr(recovery, "RESERVED_BYTES", spare)
    if not spare:
        monkeypatch.setattr(BlobStore, "free_bytes", lambda self: None)
    observer = FillDisk(small_disk, 60_000)
    with pytest.raises(StorageFailed) as caught:
        train_on(small_disk, monkeypatch, observer)
    assert free(small_disk) < 300_000  # the temporary file that did not fit is gone again
    assert ("No space left on device" if not spare else "needs about") in str(caught.value)
    assert "free some space, then resume" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(manifests(small_disk / "run")) == 1
    assert observer.ballast is not None
    observer.ballast.unlink()
    train_on(small_disk, monkeypatch)
    assert manifests(small_disk / "run") == manifests(undisturbed)


def test_storage_that_answers_with_errors_ends_the_run_and_not_the_member(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member whose checkpoint could not be written is no failed member: that generation would be another one."""
    chance, failed = random.Random(4), []
    write = LocalFiles.write

    def unreliable(self: LocalFiles, name: str, content: bytes, *, durable: bool = True) -> None:
        if chance.random() < 0.15:
            failed.append(name)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write(self, name, content, durable=durable)

    monkeypatch.setattr(LocalFiles, "write", unreliable)
    attempts, reasons = 0, set[int | None]()
    while len(manifests(tmp_path)) < 3:
        attempts += 1
        assert attempts < 40
        try:
            train_population(tmp_path)
        except OSError as error:
            reasons.add(error.errno)
    assert len(failed) >= 2
    assert attempts == len(failed) + 1
    assert reasons == {errno.EIO}
    assert manifests(tmp_path) == manifests(undisturbed)


def test_storage_that_answers_slowly_only_costs_time(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow: list[float] = []
    for name in ("read", "write"):
        call = getattr(LocalFiles, name)

        def slowly(self: LocalFiles, *arguments: Any, _call: Any = call, **options: Any) -> Any:
            slow.append(time.monotonic())
            time.sleep(0.02)
            return _call(self, *arguments, **options)

        monkeypatch.setattr(LocalFiles, name, slowly)
    train_population(tmp_path, Observers())
    assert len(slow) > 60
    assert manifests(tmp_path) == manifests(undisturbed)


def test_errors_of_the_storage_say_what_to_do() -> None:
    for number, words in {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some of your quota",
        errno.EROFS: "mount it for writing",
        errno.EIO: "see to the storage",
    }.items():
        error = storage_failure(OSError(number, os.strerror(number), "/some/file"))
        assert isinstance(error, PbtDisentError)
        assert error.exit_code == 1
        assert str(error).startswith("/some/file: ")
        assert words in str(error)
