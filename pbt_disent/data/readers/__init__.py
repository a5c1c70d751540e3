"""Readers of image files, one file per format.

A reader is a component: a class derived from `Reader` whose fields are its options. `pbt_disent.data.load` asks every
reader how well it knows a path, and opens the path with the one that knows it best.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from pbt_disent.data.base import ImageData, ProgressCallback
from pbt_disent.data.pictures import OnCorrupt, PictureHeader, PictureSource, ResizedImages, convert_pictures
from pbt_disent.files import cache_folder
from pbt_disent.registry import Component, Registry
from pbt_disent.types import IntArray, Json

__all__ = ["READERS", "Cache", "Match", "PictureReader", "PublishedFile", "Reader"]


class Match(IntEnum):
    """How well a reader knows a path."""

    NO = 0
    FORMAT = 1
    """The format is its own, the content may be anything."""
    SET = 2
    """The content has the names of the one published set that it reads."""


@dataclass(frozen=True)
class PublishedFile:
    """What a file of a published set is known to be. A digest tells a damaged download, not a forged one.

    Attributes:
        source: Who publishes the digest.
        digest: The digest in hexadecimal.
        algorithm: The algorithm of the digest.
        length: The length in bytes, or None where it is not published.
        has_variants: Whether other files go by this name as well, so that a difference is no proof of damage.
    """

    source: str
    digest: str
    algorithm: Literal["sha256", "md5"] = "sha256"
    length: int | None = None
    has_variants: bool = False

    def matches(self, path: Path) -> bool:
        """Read the whole file and tell whether it has this digest."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest() == self.digest

    def __str__(self) -> str:
        return f"{'SHA-256' if self.algorithm == 'sha256' else 'MD5'} of {self.source}"


def _cache_path(value: Any) -> Path | None:
    return None if value is None else cache_folder(value)


Cache = Annotated[
    Path | None,
    BeforeValidator(_cache_path),
    Field(description="The folder for unpacked and converted images. By default PBT_DISENT_CACHE, then ~/.cache."),
]
"""The type of the option that chooses the cache."""


class Reader(Component):
    """One format of image files.

    Attributes:
        formats: What the reader reads, in a few words.
        published_files: What is known of the files of published sets, by name.
        is_balanced: Whether every value of a factor should occur equally often, as in published sets.
    """

    formats: ClassVar[str]
    published_files: ClassVar[Mapping[str, PublishedFile]] = {}
    is_balanced: ClassVar[bool] = True

    size: int | None = Field(
        None, ge=8, le=1024, description="The height and width of the images in pixels. By default those of the file."
    )

    @classmethod
    def match(cls, path: Path) -> Match:
        """Return how well the reader knows a path, without reading much of it; never raises for a strange file."""
        raise NotImplementedError

    def open(self, path: Path, progress: ProgressCallback | None = None) -> ImageData:
        """Return the images of a path, at the chosen size.

        Args:
            path: The path of the file or folder.
            progress: Called with the number of pictures that are converted and to convert.

        Raises:
            UserError: The file cannot be read.
        """
        data = self.read(path)
        return data if self.size is None else ResizedImages(data, self.size)

    def read(self, path: Path) -> ImageData:
        """Return the images of a path, at their own size.

        Raises:
            UserError: The file cannot be read.
        """
        raise NotImplementedError

    @classmethod
    def file_factors(cls, path: Path) -> IntArray | None:
        """Return the class ids (N, K) in the file, for `verify` to compare; None where they are the only source."""
        return None

    def first_picture(self, path: Path) -> PictureHeader | None:
        """Return the header of the first picture, where pictures are converted before they are used."""
        return None


class PictureReader(Reader):
    """A format that holds encoded pictures, which are converted once into a store in the cache."""

    is_balanced = False

    on_corrupt: OnCorrupt = Field(
        "refuse",
        description="What to do with a picture that cannot be read: stop and name it (refuse) or leave it out (skip).",
    )
    cache: Cache = None

    def open(self, path: Path, progress: ProgressCallback | None = None) -> ImageData:
        """See `Reader.open`."""
        return convert_pictures(
            self.set_name(path),
            self.key(path),
            lambda: self.source(path),
            size=self.size,
            on_corrupt=self.on_corrupt,
            cache=self.cache,
            progress=progress,
        )

    def set_name(self, path: Path) -> str:
        """Return the name of the set."""
        return path.stem

    def key(self, path: Path) -> Json:
        """Return what identifies the pictures without reading them."""
        raise NotImplementedError

    def source(self, path: Path) -> PictureSource:
        """Return the encoded pictures."""
        raise NotImplementedError


READERS: Registry[type[Reader]] = Registry("reader", __name__)
