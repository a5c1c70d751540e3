"""Encoded pictures converted once into a mapped store in the cache, under a key that changes with any of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from pbt_disent.data.base import Indices, as_indices, fingerprint_of
from pbt_disent.data.damage import DAMAGE
from pbt_disent.data.pictures import Header, decode, header
from pbt_disent.data.storage import Progress, StoredImages, materialise
from pbt_disent.errors import UserError
from pbt_disent.files import cache_folder, writing
from pbt_disent.types import Json, UInt8Array

__all__ = ["Converted", "Encoded", "OnCorrupt", "converted"]

OnCorrupt = Literal["refuse", "skip"]
FILES = "files.json"
LARGEST = 1024
VERSION = 1


class Encoded(Protocol):
    """Pictures as they come: their names and their bytes."""

    @property
    def names(self) -> Sequence[str]:
        """What each picture is called in messages and in label files."""
        ...

    def read(self, index: int) -> bytes:
        """Return the bytes of one picture; quickest in order."""
        ...


class Converted(StoredImages):
    """A store of converted pictures, which remembers their names.

    Attributes:
        files: the name of each picture.
        skipped: the names of those that could not be read.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__(folder)
        try:
            listed: Json = json.loads((self.folder / FILES).read_text(encoding="utf-8"))
            self.files: tuple[str, ...] = tuple(listed["files"])
            self.skipped: tuple[str, ...] = tuple(listed["skipped"])
        except DAMAGE as error:
            raise UserError(f"image store {folder}", f"has no sound {FILES} ({error})", "delete the folder") from error


def converted(
    name: str,
    key: Json,
    open_source: Callable[[], Encoded],
    *,
    size: int | None,
    on_corrupt: OnCorrupt,
    cache: Path | str | None,
    progress: Progress | None = None,
) -> Converted:
    """Return the store of these pictures, converting them first where it is not there.

    Args:
        name: what the set is called.
        key: what identifies the pictures without reading them (names, lengths, times of change).
        open_source: gives the pictures.
        size: height and width of the result, see `pbt_disent.data.pictures`; None keeps theirs.
        on_corrupt: ``refuse`` names the first picture that cannot be read; ``skip`` leaves such pictures out.
        cache: folder for the store.
        progress: called with what is done and to do; a picture counts twice, as it is read for its size first.

    Raises:
        UserError: a picture cannot be read, sizes are mixed without `size`, or the cache cannot be written.
    """
    if size is not None and (not isinstance(size, int) or not 8 <= size <= LARGEST):
        raise UserError(f"size {size!r}", f"must be 8 to {LARGEST} pixels", "say size=64")
    if on_corrupt not in ("refuse", "skip"):
        raise UserError(f"on_corrupt {on_corrupt!r}", "must be refuse or skip", "say on_corrupt=skip")
    rule: Json = {"size": size, "on_corrupt": on_corrupt, "version": VERSION}
    folder = cache_folder(cache) / f"converted-{fingerprint_of({'key': key, 'rule': rule})[:32]}"
    with suppress(UserError):
        return Converted(folder)
    source = open_source()
    count = len(source.names)
    show = progress or (lambda done, total: None)
    pictures = _Decoded(name, source, size, on_corrupt, lambda done: show(done, 2 * count))
    materialise(pictures, folder, lambda done, kept: show(count + done, count + kept))
    text = json.dumps({"files": [pictures.source.names[kept] for kept in pictures.kept], "skipped": pictures.skipped})
    with writing(folder / FILES, len(text)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Converted(folder)


class _Decoded:
    """The pictures as a set of images, decoded at each look, and looked at once for what they have in common."""

    def __init__(
        self, name: str, source: Encoded, size: int | None, on_corrupt: OnCorrupt, looked_at: Callable[[int], None]
    ) -> None:
        self.name, self.source, self._size = name, source, size
        self.factor_names: tuple[str, ...] = ()
        self.factor_sizes: tuple[int, ...] = ()
        self.kept: list[int] = []
        self.skipped: list[str] = []
        headers: list[Header] = []
        digest = hashlib.sha256(json.dumps({"size": size, "version": VERSION}).encode())
        for index, called in enumerate(source.names):
            content = source.read(index)
            looked_at(index + 1)
            try:
                found = header(called, content)
                if on_corrupt == "skip":
                    decode(called, content, found.grey, None)
            except UserError:
                if on_corrupt == "refuse":
                    raise
                self.skipped.append(called)
                continue
            digest.update(hashlib.sha256(content).digest())
            headers.append(found)
            self.kept.append(index)
        self.fingerprint = digest.hexdigest()
        if len(self.kept) < 2:
            raise UserError(
                f"data {name}", f"has {len(self.kept)} readable pictures: at least two are needed", "add some"
            )
        self._grey = all(found.grey for found in headers)
        self.shape = (1 if self._grey else 3, *self._common_size(headers))

    def _common_size(self, headers: Sequence[Header]) -> tuple[int, int]:
        if self._size is not None:
            return self._size, self._size
        first = headers[0]
        for kept, other in zip(self.kept, headers, strict=True):
            if (other.height, other.width) != (first.height, first.width):
                raise UserError(
                    f"picture {self.source.names[kept]}",
                    f"is {other.width} x {other.height}, the first one {first.width} x {first.height}",
                    "say size=64, say, to cut and resize all",
                )
        return first.height, first.width

    def __len__(self) -> int:
        return len(self.kept)

    def images(self, indices: Indices) -> UInt8Array:
        images = np.empty((len(indices), *self.shape), dtype=np.uint8)
        for place, index in enumerate(as_indices(indices, len(self))):
            kept = self.kept[index]
            images[place] = decode(self.source.names[kept], self.source.read(kept), self._grey, self._size)
        return images

    def factors(self, indices: Indices) -> None:
        """Return None: pictures say nothing of factors."""
