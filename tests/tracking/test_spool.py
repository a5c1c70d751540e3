from __future__ import annotations

from pathlib import Path

import pytest

from pbt_disent.tracking.spool import Spool, SpoolBusy


def keys(spool: Spool, start: int = 0) -> list[str]:
    return [record.content["key"] for record in spool.records(start)]


def test_a_key_is_kept_once_across_processes(tmp_path: Path) -> None:
    assert Spool(tmp_path).append({"key": "a", "value": 1})
    again = Spool(tmp_path)
    assert not again.append({"key": "a", "value": 2})
    assert again.append({"key": "b", "value": 3})
    assert [record.content["value"] for record in again.records(0)] == [1, 3]
    assert again.first == {"key": "a", "value": 1}


def test_a_torn_line_is_invisible_to_readers_and_cut_off_by_whoever_appends(tmp_path: Path) -> None:
    Spool(tmp_path).append({"key": "a"})
    with (tmp_path / "spool.jsonl").open("a") as file:
        file.write('{"key": "b", "val')
    reader = Spool(tmp_path)
    assert keys(reader) == ["a"]
    assert reader.size > len('{"key": "a"}\n'), "a reader must not change the file of a living writer"
    writer = Spool(tmp_path)
    assert writer.append({"key": "b"})
    assert keys(writer) == ["a", "b"]
    assert (tmp_path / "spool.jsonl").read_text() == '{"key": "a"}\n{"key": "b"}\n'


def test_each_store_has_its_own_place_in_the_queue(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for key in "abc":
        spool.append({"key": key})
    first, second, _ = spool.records(0)
    spool.acknowledge("here", second.end)
    spool.acknowledge("there", first.end)
    again = Spool(tmp_path)
    assert keys(again, again.acknowledged("here")) == ["c"]
    assert keys(again, again.acknowledged("there")) == ["b", "c"]
    assert [again.count_pending(store) for store in ("here", "there", "nowhere")] == [1, 2, 3]


def test_a_place_beyond_the_end_counts_as_the_end(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append({"key": "a"})
    spool.acknowledge("here", 10_000)
    assert spool.acknowledged("here") == spool.size


def test_one_sends_at_a_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with spool.sending(), pytest.raises(SpoolBusy), Spool(tmp_path).sending():
        pass
    with Spool(tmp_path).sending():
        pass
