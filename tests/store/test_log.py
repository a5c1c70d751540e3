"""Append-only logs."""

from __future__ import annotations

from pathlib import Path

from pbt_disent.store.log import AppendOnlyLog


def test_a_log_drops_a_torn_group_and_takes_each_group_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = AppendOnlyLog(path, closing="end")
    first = [{"event": "a", "n": 1}, {"event": "end", "n": 1}]
    assert log.append(first)
    assert not log.append(first)
    whole = path.read_bytes()
    for torn in (b'{"event": "a", "n": 2}\n', b'{"event": "a", "n": 2}\n{"event": "en', b"\x00\x00"):
        path.write_bytes(whole + torn)
        again = AppendOnlyLog(path, closing="end")
        assert path.read_bytes() == whole
        assert again.rows() == first
        assert not again.append(first)
    second = [{"event": "end", "n": 2}]
    assert again.append(second)
    assert again.rows() == first + second


def test_a_log_of_single_rows_keeps_every_whole_row(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = AppendOnlyLog(path)
    log.append([{"event": "x"}])
    log.append([{"event": "y"}])
    path.write_bytes(path.read_bytes() + b'{"event"')
    again = AppendOnlyLog(path)
    assert again.rows() == [{"event": "x"}, {"event": "y"}]
    assert not again.append([{"event": "x"}])
