"""Readers of image files, one file per format.

A reader registers a `Reader` under its name. `pbt_disent.data.load` asks every reader how well it knows a path and
opens the path with the one that knows it best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pbt_disent.data.base import ImageData
from pbt_disent.data.pictures import Header
from pbt_disent.registry import Registry
from pbt_disent.types import IntArray

__all__ = ["READERS", "Match", "Reader"]


class Match(IntEnum):
    """How well a reader knows a path."""

    NO = 0
    FORMAT = 1
    """The format is its own, the content may be anything."""
    SET = 2
    """The content has the names of the one published set that it reads."""


@dataclass(frozen=True)
class Reader:
    """One format.

    Attributes:
        description: what it reads, in a few words.
        match: how well it knows a path, found without reading much of it; never raises for a strange file.
        open: ``(path, **options) -> ImageData``; raises `UserError` for a file that it cannot read.
        own_factors: the class ids (N, K) that the file itself holds, for `data verify` to compare; None where a reader
            has no other source of factors.
        first: ``(path, **options) -> Header`` of the first picture, where pictures are converted before they are used.
    """

    description: str
    match: Callable[[Path], Match]
    open: Callable[..., ImageData]
    own_factors: Callable[[Path], IntArray] | None = None
    first: Callable[..., Header] | None = None


READERS: Registry[Reader] = Registry("reader", __name__)
