"""Documents in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbt_disent.files import AlreadyCommitted, commit_document


def test_a_document_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "document"
    commit_document(path, b"first")
    commit_document(path, b"first")
    with pytest.raises(AlreadyCommitted):
        commit_document(path, b"second")
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in path.parent.iterdir()] == ["document"]
