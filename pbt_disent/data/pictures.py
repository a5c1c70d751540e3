"""Encoded pictures (PNG, JPEG, BMP, WebP) to arrays, by one declared rule.

The rule: a picture is turned as its EXIF says, put on black where it is transparent, cut to the largest square in its
middle, resized with Lanczos' filter, and made grey if all pictures of its set are grey, else RGB. Without a size
nothing is cut or resized.
"""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from pbt_disent.data.damage import reading
from pbt_disent.types import UInt8Array

__all__ = ["SUFFIXES", "Header", "decode", "header", "resized"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
GREY_MODES = ("1", "L", "LA", "I;16", "I")
REMEDY = "repair or remove it, or pass on_corrupt=skip"


@dataclass(frozen=True)
class Header:
    """What a picture says of itself: height and width in pixels as displayed, and whether it is grey."""

    height: int
    width: int
    grey: bool


def header(name: str, content: bytes) -> Header:
    """Return the header of the picture called `name`.

    Raises:
        UserError: it is no picture.
    """
    with _reading(name), Image.open(io.BytesIO(content)) as picture:
        sideways = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        width, height = reversed(picture.size) if sideways else picture.size
        return Header(height, width, picture.mode in GREY_MODES)


def decode(name: str, content: bytes, grey: bool, size: int | None) -> UInt8Array:
    """Return the picture called `name` as (1, H, W) or (3, H, W).

    Raises:
        UserError: it is truncated or otherwise damaged.
    """
    with _reading(name), Image.open(io.BytesIO(content)) as picture:
        upright = ImageOps.exif_transpose(picture)
        if upright.mode in ("I;16", "I"):
            upright = Image.fromarray((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8))
        if upright.has_transparency_data:
            clear = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", clear.size, "black"), clear)
        plain = upright.convert("L" if grey else "RGB")
    return resized(_channels_first(plain), size) if size is not None else _channels_first(plain)


def resized(image: UInt8Array, size: int) -> UInt8Array:
    """Return an image (C, H, W) cut to the square in its middle and resized to (C, size, size)."""
    _, height, width = image.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, top : top + side, left : left + side]
    if side == size:
        return square
    picture = Image.fromarray(square[0] if len(square) == 1 else np.ascontiguousarray(square.transpose(1, 2, 0)))
    return _channels_first(picture.resize((size, size), Image.Resampling.LANCZOS))


def _reading(name: str) -> AbstractContextManager[None]:
    return reading(name, "cannot be read", REMEDY, kind="picture", also=(Image.DecompressionBombError,))


def _channels_first(picture: Image.Image) -> UInt8Array:
    array = np.asarray(picture, dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
