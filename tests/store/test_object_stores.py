"""Storage that is no folder: blobs, documents, leases and whole runs, on servers like S3 and Google's on 127.0.0.1."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pbt_disent import api
from pbt_disent.cli.models import load_trained
from pbt_disent.config import load_config
from pbt_disent.errors import UserError
from pbt_disent.files import AlreadyCommitted
from pbt_disent.population.engine import run_population
from pbt_disent.population.events import Phase
from pbt_disent.population.journal import RoundJournal
from pbt_disent.store import filesystem
from pbt_disent.store import lease as lease_module
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.store.documents import RemoteDocuments
from pbt_disent.store.filesystem import LocalFiles, RemoteFiles, join_location, open_files
from pbt_disent.store.lease import LeaseLost, RemoteLease
from pbt_disent.store.run_folder import RunFolder
from pbt_disent.store.runs import create_run, find_run, newest_run
from tests.population.fakes import Crash, FakeExecutor, Watch, manifests, spec
from tests.store.helpers import read_documents
from tests.test_pipeline import TINY

pytestmark = pytest.mark.slow

counter = iter(range(10**6))


@pytest.fixture(params=["objects", "google_objects"])
def location(request: pytest.FixtureRequest) -> str:
    server: str = request.getfixturevalue(request.param)
    return server.format(f"run-{next(counter)}")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PBT_DISENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["folder", "objects", "google_objects"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "folder":
        return open_files(tmp_path / "files")
    return open_files(request.getfixturevalue(request.param).format(f"run-{next(counter)}"))


def test_both_kinds_of_storage_do_the_same(files: Any) -> None:
    assert isinstance(files, LocalFiles | RemoteFiles)
    assert files.list_files("") == []
    files.write("a/b", b"one")
    files.write("a/b", b"other")
    files.write("a/c/d", b"")
    assert files.read("a/b") == b"other"
    assert [(info.name, info.size) for info in files.list_files("a")] == [("a/b", 5), ("a/c/d", 0)]
    info = files.stat("a/b")
    assert info is not None
    assert abs(info.modified - time.time()) < 60
    files.delete("a/b")
    files.delete("a/b")
    assert files.stat("a/b") is None
    with pytest.raises(FileNotFoundError):
        files.read("a/b")


def test_blobs_are_checked_and_written_again_wherever_they_are(files: Any) -> None:
    store = BlobStore(join_location(files.location, "blobs"))
    digest = store.put(b"hello")
    array = store.put_array(np.arange(3))
    assert store.get(digest) == b"hello"
    assert store.get_array(array).tolist() == [0, 1, 2]
    assert store.digests() == {digest, array}
    files.write(f"blobs/{digest[:2]}/{digest[2:]}", b"hellO")
    with pytest.raises(CorruptBlob, match="damaged") as caught:
        store.get(digest)
    assert caught.value.digest == digest
    assert not store.is_intact(digest)
    assert store.put(b"hello") == digest
    assert store.is_intact(digest)
    assert store.collect([array], [digest, array, "0" * 64]) == 5
    assert (digest in store, array in store) == (False, True)


def test_of_two_drivers_of_one_run_the_second_is_refused(location: str) -> None:
    files = RemoteFiles(location)
    first = RemoteLease(files)
    with pytest.raises(UserError, match="is held by a live driver"):
        RemoteLease(files)
    first.check()
    first.release()
    second = RemoteLease(files)
    assert second.epoch == first.epoch + 1
    second.release()
    assert [info.name for info in files.list_files("lease")] == [second._name]


def test_a_driver_whose_heart_stopped_loses_its_run_and_cannot_commit(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = RemoteFiles(location)
    late = RemoteLease(files)
    claim = json.loads(files.read(late._name))
    files.write(late._name, json.dumps({**claim, "machine": "another"}).encode())
    monkeypatch.setattr(lease_module, "EXPIRY_SECONDS", 0.0)
    time.sleep(1.1)  # the server counts whole seconds
    new = RemoteLease(files)
    with pytest.raises(LeaseLost):
        late.check()
    new.check()
    documents = RemoteDocuments(files, new.epoch, tmp_path)
    documents.commit("rounds/0/generation-0000.json", b"new")
    with pytest.raises(AlreadyCommitted):
        RemoteDocuments(files, late.epoch, tmp_path).commit("rounds/0/generation-0000.json", b"late")
    assert read_documents(files, "rounds") == {"rounds/0/generation-0000.json": b"new"}
    new.release()
    late.release()


def test_of_many_drivers_that_start_at_once_at_most_one_gets_the_run(location: str) -> None:
    leases: list[RemoteLease] = []
    start = threading.Barrier(6)

    def take() -> None:
        start.wait()
        try:
            leases.append(RemoteLease(RemoteFiles(location)))
        except UserError:
            return

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(leases) <= 1
    for lease in leases:
        lease.check()
        lease.release()
    RemoteLease(RemoteFiles(location)).release()


def test_what_a_late_driver_writes_is_outvoted(location: str, tmp_path: Path) -> None:
    """The window between the check of the lease and the write: the only moment in which a late driver can write."""
    files, folder = RemoteFiles(location), "rounds/0"
    first, second, third = (RemoteDocuments(files, epoch, tmp_path / str(epoch)) for epoch in (1, 2, 3))
    first.commit(f"{folder}/generation-0000.json", b"a0")
    second.take_over(folder)
    first.commit(f"{folder}/generation-0001.json", b"late a1")
    third.take_over(folder)
    assert (tmp_path / "3" / folder / "generation-0001.json").read_bytes() == b"late a1"
    third.commit(f"{folder}/generation-0002.json", b"c2, which builds on a1")
    files.write(f"{folder}/generation-0001.e000002.json", b"late b1")  # past its own look at what is there
    assert read_documents(files, "rounds") == {
        f"{folder}/generation-0000.json": b"a0",
        f"{folder}/generation-0001.json": b"late a1",
        f"{folder}/generation-0002.json": b"c2, which builds on a1",
    }


def remote_population(location: str, mirror: Path, die_at: tuple[int, str] | None = None, **options: int) -> None:
    files = RemoteFiles(location)
    lease = RemoteLease(files)
    blobs = BlobStore(join_location(location, "blobs"))
    journal = RoundJournal(mirror, blobs, lease, RemoteDocuments(files, lease.epoch, mirror))
    try:
        run_population(spec(**options), FakeExecutor(blobs), journal, Watch(die_at))  # type: ignore[arg-type]
    finally:
        lease.release()


@pytest.mark.parametrize("phase", ["scored", "committed"])
def test_a_population_in_an_object_store_has_the_manifests_of_one_in_a_folder(
    location: str, tmp_path: Path, phase: str
) -> None:
    from tests.population.test_engine import run

    options = {"size": 3, "generations": 3}
    run(tmp_path / "folder", **options)
    with pytest.raises(Crash):
        remote_population(location, tmp_path / "one", (1, phase), **options)
    remote_population(location, tmp_path / "another machine", **options)
    expected = manifests(tmp_path / "folder")
    assert read_documents(RemoteFiles(location), "rounds") == expected
    assert manifests(tmp_path / "another machine") == expected
    sizes = [
        len(BlobStore(root).digests()) for root in (join_location(location, "blobs"), tmp_path / "folder" / "blobs")
    ]
    assert sizes[0] == sizes[1]


def test_a_round_with_other_inputs_is_moved_aside_there_too(location: str, tmp_path: Path) -> None:
    remote_population(location, tmp_path, seed=1, size=3, generations=2)
    old = read_documents(RemoteFiles(location), "rounds")
    remote_population(location, tmp_path, seed=2, size=3, generations=2)
    superseded = read_documents(RemoteFiles(location), "superseded")
    assert list(superseded.values()) == list(old.values())
    assert read_documents(RemoteFiles(location), "rounds") != old


@pytest.mark.parametrize("server", ["objects", "google_objects"])
def test_a_whole_run_in_an_object_store_crashes_and_is_resumed_by_another_machine(
    request: pytest.FixtureRequest, server: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects: str = request.getfixturevalue(server)

    class DiesAt(Watch):
        def notify(self, event: object) -> None:
            if isinstance(event, Phase) and (event.path, event.generation, event.name) == ("0", 1, "scored"):
                raise Crash

    config, root = load_config(None, TINY), objects.format("runs")
    local = create_run(config, "tiny", tmp_path, None)
    api.execute(api.prepare(local), Watch(), api.InProcess())
    created = create_run(config, "tiny", root, None)
    assert create_run(config, "tiny", root, None).name == "tiny-2"
    with pytest.raises(UserError, match="exists already"):
        create_run(config, "tiny", root, "tiny-1")
    with pytest.raises(Crash):
        api.execute(api.prepare(created), DiesAt(), api.InProcess())
    monkeypatch.setenv("PBT_DISENT_CACHE", str(tmp_path / "another machine"))
    resumed = find_run(objects.format("runs/tiny-1"), Path("runs"))
    assert resumed.path != created.path
    assert resumed.location == created.location == objects.format("runs/tiny-1")
    api.execute(api.prepare(resumed), Watch(), api.InProcess())
    assert manifests(resumed.path) == manifests(local.path)
    monkeypatch.setenv("PBT_DISENT_CACHE", str(tmp_path / "a third machine"))
    read = find_run("tiny-1", root)
    for name in ("lineage.jsonl", "rounds.jsonl", "labels/labels.parquet", "model/model.safetensors", "scores.json"):
        assert (read.path / name).read_bytes() == (local.path / name).read_bytes(), name
    model, run = load_trained(objects.format("runs/tiny-1"), Path("runs"))
    assert run is not None
    assert len(model.latents) == 4


def test_bad_locations_are_refused_in_one_line(objects: str) -> None:
    for location, words in {
        "s3://key:secret@bucket/runs": "must not have credentials in it",
        "s3://bucket/runs?secret_key=hidden": "must not have credentials in it",
        "ftp://host/runs": "is nothing that pyarrow can open",
        "s3://bucket/runs?colour=blue": "is nothing that pyarrow can open",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            RemoteFiles(location)
        assert "\n" not in str(caught.value)
        assert "secret@" not in str(caught.value)
        assert "hidden" not in str(caught.value)
    with pytest.raises(UserError, match="it has no run"):
        find_run(objects.format("nothing/here"), Path("runs"))
    with pytest.raises(UserError, match="name one"):
        newest_run(objects.format("runs"))
    with pytest.raises(UserError, match=r"must be writable .*NoSuchBucket|must be writable .*NO_SUCH_BUCKET"):
        create_run(load_config(None, TINY), "tiny", objects.replace("//bucket", "//nobucket").format("runs"), None)


def test_pyarrow_still_cannot_write_on_the_condition_that_a_name_is_free(location: str) -> None:
    """Once it can, documents need no epochs in their names: see `pbt_disent.store.documents`."""
    files = RemoteFiles(location)
    for content in (b"first", b"second"):
        conditions = {"If-None-Match": "*", "ifGenerationMatch": "0"}
        with files._filesystem.open_output_stream(files._path("name"), metadata=conditions) as stream:
            stream.write(content)
    assert files.read("name") == b"second"


def test_googles_store_is_refused_in_one_line(google_objects: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = google_objects.replace("@bucket", "@nobucket").format("runs")
    with pytest.raises(
        UserError, match=r"must be writable \(gs://anonymous@nobucket/runs/tiny: the bucket is not there"
    ):
        create_run(load_config(None, TINY), "tiny", nowhere, "tiny")
    monkeypatch.setattr(filesystem, "GOOGLE_RETRY_LIMIT", 1)
    monkeypatch.setattr(filesystem, "RETRY_SECONDS", ())
    silent = "gs://anonymous@bucket/runs?scheme=http&endpoint_override=127.0.0.1:9"
    with pytest.raises(OSError, match=r"^\[Errno 5\] gs://anonymous@bucket/runs: .*UNAVAILABLE"):
        RemoteFiles(silent).read("a")
    with pytest.raises(UserError, match="must not have credentials in it"):
        RemoteFiles("gs://bucket/runs?credentials=hidden")


class Flaky:
    """A file system whose first calls fail."""

    def __init__(self, filesystem: Any, failures: int) -> None:
        self._filesystem, self.left = filesystem, failures

    def __getattr__(self, name: str) -> Any:
        if self.left:
            self.left -= 1
            raise OSError(5, "AWS Error SLOW_DOWN during PutObject operation")
        return getattr(self._filesystem, name)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "RETRY_SECONDS", (0.0, 0.0, 0.0))


def test_a_storage_that_fails_for_a_while_is_asked_again(location: str, no_waiting: None) -> None:
    files = RemoteFiles(location)
    flaky = files._filesystem = Flaky(files._filesystem, 3)
    files.write("a", b"content")
    assert flaky.left == 0
    assert files.read("a") == b"content"
    flaky.left = 100
    with pytest.raises(OSError, match="SLOW_DOWN") as caught:
        files.write("a", b"other")
    assert flaky.left == 100 - 4
    assert "\n" not in str(caught.value)
    flaky.left = 0
    assert files.read("a") == b"content"


def test_local_runs_say_where_they_are(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.location == str(tmp_path / "run")
    assert folder.blobs == str(tmp_path / "run" / "blobs")


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by the name of every object that is read from now on."""
    names: list[str] = []
    read = RemoteFiles.read

    def reading(self: RemoteFiles, name: str) -> bytes:
        names.append(name)
        return read(self, name)

    monkeypatch.setattr(RemoteFiles, "read", reading)
    return names


def test_a_run_elsewhere_is_watched_as_it_grows(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    from pbt_disent.cli import snapshot

    monkeypatch.setattr(snapshot, "REFRESH_SECONDS", -1.0)
    driver = create_run(load_config(None, TINY), "tiny", location, "grows")
    monkeypatch.setenv("PBT_DISENT_CACHE", str(tmp_path / "another machine"))
    watched = snapshot.WatchedFolder(find_run("grows", location))
    assert watched.run.path != driver.path
    assert watched.read().state == "starting"
    lease = driver.lease()
    with driver.published(threading.Event()):
        assert watched.read().state == "running"
        journal = RoundJournal(driver.path, BlobStore(driver.blobs), lease, driver.documents(lease.epoch))
        round_spec = spec(size=3, generations=3)
        (driver.path / "rounds.jsonl").write_text(
            json.dumps({"event": "started", "path": "0", "identity": round_spec.identity, "num_images": 9}) + "\n"
        )
        run_population(round_spec, FakeExecutor(BlobStore(driver.blobs)), journal, Watch())  # type: ignore[arg-type]
        driver.publish()
        assert len(watched.read().rounds["0"]) == 3
        names = counted(monkeypatch)
        assert len(watched.read().rounds["0"]) == 3
        assert not [name for name in names if not name.startswith("lease/")], "nothing is fetched twice"
    lease.release()
    assert watched.read().state == "stopped"


def test_whoever_reads_a_run_leaves_the_folder_of_its_driver_alone(location: str) -> None:
    """The driver is a generation ahead of the store, in what it writes to its folder and copies later."""
    driver = create_run(load_config(None, TINY), "tiny", location, "alive")
    log = driver.path / "rounds.jsonl"
    log.write_text("old\n")
    driver.publish()
    with driver.published(threading.Event()):
        log.write_text("old\nnew\n")
        assert find_run("alive", location).path == driver.path
        assert log.read_text() == "old\nnew\n"
    log.write_text("of a driver that was killed\n")
    find_run("alive", location)
    assert log.read_text() == "old\nnew\n"
