"""Encoded pictures (PNG, JPEG, BMP, WebP): decoded by one declared rule, converted once into a store in the cache.

The rule: a picture is turned as its EXIF says, put on black where it is transparent, cut to the largest square in its
middle, resized with Lanczos' filter, and made grey if all pictures of its set are grey, else RGB. Without a size
nothing is cut or resized.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import Image, ImageOps

from pbt_disent.data.base import ImageData, Indices, ProgressCallback, as_indices, fingerprint_of
from pbt_disent.data.source_files import READ_ERRORS, reading
from pbt_disent.data.storage import StoredImages, materialise
from pbt_disent.errors import UserError
from pbt_disent.files import cache_folder, writing
from pbt_disent.types import IntArray, Json, UInt8Array

__all__ = [
    "SUFFIXES",
    "ConvertedPictures",
    "OnCorrupt",
    "PictureHeader",
    "PictureSource",
    "ResizedImages",
    "convert_pictures",
    "decode",
    "read_header",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
GREY_MODES = ("1", "L", "LA", "I;16", "I")
EXIF_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
NAMES = "files.json"
VERSION = 1
"""The version of the rule. It changes whenever a converted pixel does."""

OnCorrupt = Literal["refuse", "skip"]


@dataclass(frozen=True)
class PictureHeader:
    """What a picture says of itself.

    Attributes:
        height: The height in pixels, as displayed.
        width: The width in pixels, as displayed.
        is_grey: Whether the picture has no colours.
    """

    height: int
    width: int
    is_grey: bool


def read_header(name: str, content: bytes) -> PictureHeader:
    """Return the header of a picture.

    Args:
        name: The name of the picture, for messages.
        content: The encoded picture.

    Raises:
        UserError: It is no picture.
    """
    with _reading(name), Image.open(io.BytesIO(content)) as picture:
        is_sideways = picture.getexif().get(EXIF_ORIENTATION, 1) in SIDEWAYS
        width, height = reversed(picture.size) if is_sideways else picture.size
        return PictureHeader(height, width, picture.mode in GREY_MODES)


def decode(name: str, content: bytes, *, as_grey: bool, size: int | None) -> UInt8Array:
    """Return a picture as (1, H, W) or (3, H, W).

    Args:
        name: The name of the picture, for messages.
        content: The encoded picture.
        as_grey: Whether to make it grey.
        size: The height and width of the result in pixels, or None to keep those of the picture.

    Raises:
        UserError: The picture is truncated or otherwise damaged.
    """
    with _reading(name), Image.open(io.BytesIO(content)) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("I;16", "I"):
            upright = Image.fromarray((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8))
        if upright.has_transparency_data:
            transparent = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", transparent.size, "black"), transparent)
        image = _channels_first(upright.convert("L" if as_grey else "RGB"))
    return image if size is None else _resized(image, size)


def _resized(image: UInt8Array, size: int) -> UInt8Array:
    """Return an image (C, H, W) cut to the square in its middle and resized to (C, size, size)."""
    _, height, width = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, top : top + side, left : left + side]
    if side == size:
        return square
    picture = Image.fromarray(square[0] if len(square) == 1 else np.ascontiguousarray(square.transpose(1, 2, 0)))
    return _channels_first(picture.resize((size, size), Image.Resampling.LANCZOS))


def _channels_first(picture: Image.Image) -> UInt8Array:
    array = np.asarray(picture, dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _reading(name: str) -> AbstractContextManager[None]:
    remedy = "repair or remove it, or pass on_corrupt=skip"
    return reading(name, "cannot be read", remedy, kind="picture", also=(Image.DecompressionBombError,))


class ResizedImages:
    """A view of images cut to the square in their middle and resized with Lanczos' filter.

    Args:
        data: The images.
        size: The height and width of the result in pixels.
    """

    def __init__(self, data: ImageData, size: int) -> None:
        self._data, self._size = data, size
        self.name = data.name
        self.fingerprint = fingerprint_of({"of": data.fingerprint, "size": size, "version": VERSION})
        self.shape = (data.shape[0], size, size)
        self.factor_names, self.factor_sizes = data.factor_names, data.factor_sizes

    def __len__(self) -> int:
        return len(self._data)

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, C, size, size)."""
        originals = self._data.images(indices)
        images = np.empty((len(originals), *self.shape), dtype=np.uint8)
        for index, image in enumerate(originals):
            images[index] = _resized(image, self._size)
        return images

    def factors(self, indices: Indices) -> IntArray | None:
        """Return the class ids at `indices`, (N, K), or None."""
        return self._data.factors(indices)


class PictureSource(Protocol):
    """Encoded pictures by index."""

    @property
    def names(self) -> Sequence[str]:
        """What each picture is called in messages and in label files."""
        ...

    def read(self, index: int) -> bytes:
        """Return the content of one picture; quickest in order."""
        ...


class ConvertedPictures(StoredImages):
    """A store of converted pictures, which remembers their names.

    Args:
        folder: The folder of the store.

    Attributes:
        files: The name of each picture.
        skipped: The names of the pictures that could not be read.

    Raises:
        UserError: The folder is no such store, or is damaged.
    """

    def __init__(self, folder: Path | str) -> None:
        super().__init__(folder)
        try:
            names: Json = json.loads((self.folder / NAMES).read_text(encoding="utf-8"))
            self.files: tuple[str, ...] = tuple(names["files"])
            self.skipped: tuple[str, ...] = tuple(names["skipped"])
        except READ_ERRORS as error:
            raise UserError(f"image store {folder}", f"has no sound {NAMES} ({error})", "delete the folder") from error


def convert_pictures(
    name: str,
    key: Json,
    open_source: Callable[[], PictureSource],
    *,
    size: int | None,
    on_corrupt: OnCorrupt,
    cache: Path | None,
    progress: ProgressCallback | None = None,
) -> ConvertedPictures:
    """Return the store of these pictures, converting them first where it is not there.

    Args:
        name: The name of the set.
        key: What identifies the pictures without reading them (names, lengths, times of change).
        open_source: A function that returns the pictures.
        size: The height and width of the result in pixels, or None to keep those of the pictures.
        on_corrupt: ``refuse`` names the first picture that cannot be read; ``skip`` leaves such pictures out.
        cache: The folder for the store; see `pbt_disent.files.cache_folder`.
        progress: Called with what is done and to do. A picture counts twice, as its header is read first.

    Raises:
        UserError: A picture cannot be read, sizes are mixed without `size`, or the cache cannot be written.
    """
    rule: Json = {"size": size, "on_corrupt": on_corrupt, "version": VERSION}
    folder = cache_folder(cache) / f"converted-{fingerprint_of({'key': key, 'rule': rule})[:32]}"
    with suppress(UserError):
        return ConvertedPictures(folder)
    source = open_source()
    total = len(source.names)
    show = progress or (lambda done, total: None)
    pictures = _DecodedPictures(name, source, size, on_corrupt, lambda done: show(done, 2 * total))
    materialise(pictures, folder, lambda done, readable: show(total + done, total + readable))
    files = [source.names[index] for index in pictures.readable]
    text = json.dumps({"files": files, "skipped": pictures.skipped})
    with writing(folder / NAMES, len(text)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return ConvertedPictures(folder)


class _DecodedPictures:
    """The pictures as a set of images, decoded when asked for; their headers are read once, for what they share."""

    def __init__(
        self,
        name: str,
        source: PictureSource,
        size: int | None,
        on_corrupt: OnCorrupt,
        report: Callable[[int], None],
    ) -> None:
        self.name, self._source, self._size = name, source, size
        self.factor_names: tuple[str, ...] = ()
        self.factor_sizes: tuple[int, ...] = ()
        self.readable: list[int] = []
        self.skipped: list[str] = []
        headers: list[PictureHeader] = []
        digest = hashlib.sha256(json.dumps({"size": size, "version": VERSION}).encode())
        for index, picture in enumerate(source.names):
            content = source.read(index)
            report(index + 1)
            try:
                header = read_header(picture, content)
                if on_corrupt == "skip":
                    decode(picture, content, as_grey=header.is_grey, size=None)
            except UserError:
                if on_corrupt == "refuse":
                    raise
                self.skipped.append(picture)
                continue
            digest.update(hashlib.sha256(content).digest())
            headers.append(header)
            self.readable.append(index)
        self.fingerprint = digest.hexdigest()
        if len(headers) < 2:
            rule = f"has {len(headers)} readable pictures: at least two are needed"
            raise UserError(f"data {name}", rule, "add some")
        self._is_grey = all(header.is_grey for header in headers)
        self.shape = (1 if self._is_grey else 3, *self._common_size(headers))

    def _common_size(self, headers: Sequence[PictureHeader]) -> tuple[int, int]:
        if self._size is not None:
            return self._size, self._size
        first = headers[0]
        for index, header in zip(self.readable, headers, strict=True):
            if (header.height, header.width) != (first.height, first.width):
                raise UserError(
                    f"picture {self._source.names[index]}",
                    f"is {header.width} x {header.height}, the first one {first.width} x {first.height}",
                    "set for example size=64 to cut and resize all",
                )
        return first.height, first.width

    def __len__(self) -> int:
        return len(self.readable)

    def images(self, indices: Indices) -> UInt8Array:
        images = np.empty((len(indices), *self.shape), dtype=np.uint8)
        for image, position in zip(images, as_indices(indices, len(self)), strict=True):
            index = self.readable[position]
            name, content = self._source.names[index], self._source.read(index)
            image[:] = decode(name, content, as_grey=self._is_grey, size=self._size)
        return images

    def factors(self, indices: Indices) -> None:
        """Return None: pictures say nothing of factors."""
