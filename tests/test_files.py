"""Files that are whole or absent, the reader of JSON lines, and the cache folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pbt_disent.errors import UserError
from pbt_disent.files import JsonLine, cache_folder, json_lines, read_json_lines, write_atomically, writing


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_as_a_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "deep" / "file"
    for content in (b"first", b"second"):
        write_atomically(path, content, durable=durable)
        assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]
    umask = os.umask(0o022)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("error", [OSError(errno.EIO, "bad disk"), ValueError("no"), KeyboardInterrupt()])
def test_nothing_is_left_of_a_file_whose_writing_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_text("earlier")

    def fail() -> None:
        with writing(path, 3) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_disk_names_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as caught:
        write_atomically(tmp_path / "file" / "below", b"")
    assert str(caught.value.filename).startswith(str(tmp_path / "file"))


def test_json_lines_end_where_the_last_whole_line_does(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert list(json_lines(path)) == list(json_lines(path / "below")) == read_json_lines(path) == []
    path.write_bytes(b'{"a": 1}\n[2]\n\x00\xff\n{"b": "\xc3\xa9"}\n{"c": 3}')
    rows = [JsonLine({"a": 1}, 9), JsonLine(None, 13), JsonLine(None, 16), JsonLine({"b": "é"}, 28)]
    assert list(json_lines(path)) == rows
    assert list(json_lines(path, start=16)) == rows[3:]
    assert read_json_lines(path) == [{"a": 1}, {"b": "é"}]


def test_the_cache_is_where_the_caller_or_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("PBT_DISENT_CACHE", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "pbt-disent"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/pbt-disent")
    monkeypatch.setenv("PBT_DISENT_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    assert cache_folder("~/other") == tmp_path / "other"
    with pytest.raises(UserError, match="cache 3: must be a folder"):
        cache_folder(3)  # type: ignore[arg-type]
