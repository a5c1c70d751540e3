"""A store that this package has written, opened again by its folder."""

from __future__ import annotations

from pathlib import Path

from pbt_disent.data.readers import READERS, Match, Reader
from pbt_disent.data.storage import SIDECAR, StoredImages

__all__: list[str] = []


def match(path: Path) -> Match:
    """Know the folder by its sidecar."""
    return Match.SET if (path / SIDECAR).is_file() else Match.NO


def _open(path: Path) -> StoredImages:
    return StoredImages(path)


READERS.register("stored")(Reader("a folder written by `data render`", match, _open))
