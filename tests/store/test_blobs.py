"""Blobs: named by content, checked, counted and collected."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pbt_disent.config import load_config
from pbt_disent.errors import UserError
from pbt_disent.store.blobs import BlobStore, CorruptBlob
from pbt_disent.store.runs import create_run


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
    first, second, third = store.put(b"1"), store.put(b"22"), store.put(b"333")
    assert store.collect(keep=[first], among=[first, second]) == 2
    assert first in store
    assert second not in store
    assert third in store
    assert store.collect(keep=[], among=[second]) == 0


def test_a_run_that_the_disk_has_no_room_for_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pbt_disent.cli.plan import refuse_without_room

    folder = create_run(load_config("demo"), "demo", tmp_path, None)
    monkeypatch.setattr(BlobStore, "free_bytes", lambda self: 10 * 2**20)
    refuse_without_room(folder, 10 * 2**20)
    with pytest.raises(UserError, match=r"needs 12 MiB of disk, and 10 are free there; free some, or choose another"):
        refuse_without_room(folder, 12 * 2**20)
    BlobStore(folder.blobs).put(bytes(3 * 2**20))
    refuse_without_room(folder, 12 * 2**20)
    monkeypatch.setattr(BlobStore, "free_bytes", lambda self: None)
    refuse_without_room(folder, 2**60)


def test_a_sweep_removes_what_killed_drivers_left_and_nothing_that_is_named(tmp_path: Path) -> None:
    from tests.population.fakes import journal
    from tests.population.test_engine import run

    run(tmp_path, size=3, generations=3)
    round_journal, blobs, lease = journal(tmp_path)
    digests = blobs.digests()
    orphan, spared, named = blobs.put(b"orphan"), blobs.put(b"spared"), blobs.put(b"named")
    (tmp_path / "rounds.jsonl").write_text(json.dumps({"event": "finished", "best": {"checkpoint": named}}))
    (tmp_path / "blobs" / ".pbt-disent-torn.tmp").write_bytes(b"half")
    assert round_journal.collect_garbage([spared]) == len(b"orphan")
    assert blobs.digests() == digests | {spared, named}
    assert orphan not in blobs
    assert not list(tmp_path.rglob(".pbt-disent-*.tmp"))
    lease.release()
