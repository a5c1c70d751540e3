from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pbt_disent.config import load_config
from pbt_disent.errors import UserError
from pbt_disent.files import AlreadyCommitted, commit_document
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.store.creating import create_run
from pbt_disent.store.finding import find_run, newest_run
from pbt_disent.store.lease import Lease, LeaseLost
from pbt_disent.store.log import GrowingLog


def test_blobs_are_named_by_content_and_checked_on_reading(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    digest = store.put(b"hello")
    assert digest == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert store.put(b"hello") == digest
    assert store.get(digest) == b"hello"
    assert digest in store
    next(tmp_path.glob("2c/*")).write_bytes(b"hellO")
    with pytest.raises(CorruptBlob, match=r"2cf24dba5fb0.*damaged"):
        store.get(digest)
    with pytest.raises(CorruptBlob, match="missing"):
        store.get("0" * 64)


def test_arrays_come_back_without_pickle(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    array = np.arange(6.0).reshape(2, 3).T
    assert np.array_equal(store.get_array(store.put_array(array)), array)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        store.put_array(np.array([{}], dtype=object))


def test_collection_spares_what_is_kept(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    one, two, three = store.put(b"1"), store.put(b"22"), store.put(b"333")
    assert store.collect(keep=[one], among=[one, two]) == 2
    assert one in store
    assert two not in store
    assert three in store
    assert store.collect(keep=[], among=[two]) == 0


def test_a_document_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "document"
    commit_document(path, b"first")
    commit_document(path, b"first")
    with pytest.raises(AlreadyCommitted):
        commit_document(path, b"second")
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in path.parent.iterdir()] == ["document"]


def test_a_log_drops_a_torn_group_and_takes_each_group_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = GrowingLog(path, closing="end")
    first = [{"event": "a", "n": 1}, {"event": "end", "n": 1}]
    assert log.append(first)
    assert not log.append(first)
    whole = path.read_bytes()
    for torn in (b'{"event": "a", "n": 2}\n', b'{"event": "a", "n": 2}\n{"event": "en', b"\x00\x00"):
        path.write_bytes(whole + torn)
        again = GrowingLog(path, closing="end")
        assert path.read_bytes() == whole
        assert again.rows() == first
        assert not again.append(first)
    second = [{"event": "end", "n": 2}]
    assert again.append(second)
    assert again.rows() == first + second


def test_a_log_of_single_rows_keeps_every_whole_row(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = GrowingLog(path)
    log.append([{"event": "x"}])
    log.append([{"event": "y"}])
    path.write_bytes(path.read_bytes() + b'{"event"')
    again = GrowingLog(path)
    assert again.rows() == [{"event": "x"}, {"event": "y"}]
    assert not again.append([{"event": "x"}])


def test_a_lease_refuses_a_second_driver_and_stops_a_late_one(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    first = Lease(path)
    with pytest.raises(UserError, match=f"held by a live driver \\(pid {os.getpid()}"):
        Lease(path)
    first.check()
    holder = json.loads(path.read_bytes())
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    path.write_text(json.dumps({**holder, "pid": int(gone.stdout)}))
    second = Lease(path)
    assert second.epoch == first.epoch + 1
    with pytest.raises(LeaseLost):
        first.check()
    first.release()
    second.check()
    second.release()
    third = Lease(path)
    assert third.epoch == second.epoch + 1
    third.release()


def test_a_reused_pid_does_not_hold_a_lease(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    lease = Lease(path)
    holder = json.loads(path.read_bytes())
    lease.release()
    path.write_text(json.dumps({**holder, "started": holder["started"] - 100}))
    Lease(path).release()


def test_a_foreign_host_holds_a_lease_while_its_heart_beats(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    lease = Lease(path)
    holder = json.loads(path.read_bytes())
    lease.release()
    path.write_text(json.dumps({**holder, "machine": "another", "host": "elsewhere"}))
    with pytest.raises(UserError, match="on elsewhere"):
        Lease(path)
    then = path.stat().st_mtime - 61
    os.utime(path, (then, then))
    Lease(path).release()


def test_run_folders_are_created_named_and_found(tmp_path: Path) -> None:
    config = load_config("demo")
    assert create_run(config, "demo", tmp_path, None).name == "demo-1"
    second = create_run(config, "demo", tmp_path, None)
    assert second.name == "demo-2"
    assert find_run("demo-2", tmp_path).path == second.path
    assert find_run(str(second.path), Path("elsewhere")).path == second.path
    assert second.config() == config
    assert newest_run(tmp_path).name == "demo-2"
    with pytest.raises(UserError, match="run 'demo-1': exists already"):
        create_run(config, "demo", tmp_path, "demo-1")
    with pytest.raises(UserError, match="known: demo-1, demo-2"):
        find_run("demo-3", tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="is no run folder"):
        find_run("other", tmp_path)
    second.describe(format=99)
    with pytest.raises(UserError, match="format 99"):
        find_run("demo-2", tmp_path)
    with pytest.raises(UserError, match="holds no run"):
        newest_run(tmp_path / "nothing")


def test_a_run_that_the_disk_has_no_room_for_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pbt_disent.cli.plan import refuse_without_room

    folder = create_run(load_config("demo"), "demo", tmp_path, None)
    monkeypatch.setattr(BlobStore, "free", lambda self: 10 * 2**20)
    refuse_without_room(folder, 10 * 2**20)
    with pytest.raises(UserError, match=r"needs 12 MiB of disk, and 10 are free there; free some, or choose another"):
        refuse_without_room(folder, 12 * 2**20)
    BlobStore(folder.blobs).put(bytes(3 * 2**20))
    refuse_without_room(folder, 12 * 2**20)
    monkeypatch.setattr(BlobStore, "free", lambda self: None)
    refuse_without_room(folder, 2**60)


def test_a_sweep_removes_what_killed_drivers_left_and_nothing_that_is_named(tmp_path: Path) -> None:
    from tests.population.fakes import journal
    from tests.population.test_engine import run

    run(tmp_path, size=3, generations=3)
    book, blobs, lease = journal(tmp_path)
    kept = blobs.all()
    orphan, given, named = blobs.put(b"orphan"), blobs.put(b"given"), blobs.put(b"named")
    (tmp_path / "rounds.jsonl").write_text(json.dumps({"event": "finished", "best": {"checkpoint": named}}))
    (tmp_path / "blobs" / ".pbt-disent-torn.tmp").write_bytes(b"half")
    assert book.sweep([given]) == len(b"orphan")
    assert blobs.all() == kept | {given, named}
    assert orphan not in blobs
    assert not list(tmp_path.rglob(".pbt-disent-*.tmp"))
    lease.release()


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", " b", ".."])
def test_a_run_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"--name .*: must be the name of one folder"):
        create_run(load_config("demo"), "demo", tmp_path / "runs", name)
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("file", "content"), [("run.json", "{"), ("run.json", "[]"), ("config.yaml", "a: [1"), ("config.yaml", "\0")]
)
def test_a_damaged_run_is_named_in_one_line(tmp_path: Path, file: str, content: str) -> None:
    folder = create_run(load_config("demo"), "demo", tmp_path, None)
    (folder.path / file).write_text(content)
    with pytest.raises(UserError, match=rf"{file}: cannot be read \(") as caught:
        folder.description() if file == "run.json" else folder.config()
    assert "\n" not in str(caught.value)
