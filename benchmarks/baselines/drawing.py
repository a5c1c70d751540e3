"""The rendered worlds image by image, each from scratch, as a script written from the data sets' descriptions would do.

`sprites` draws every outline with Pillow at eight times the size and averages; `rooms` casts every image ray by ray.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pbt_disent.types import IntArray, UInt8Array

__all__ = ["draw_rooms", "draw_sprites"]

SUPERSAMPLING = 8
SIZE = 64
THRESHOLD = 136
"""The grey level of a pixel half covered: Pillow counts the border of a polygon in, so a little more than 128."""
HEART = {
    -90: 6.95, -80: 9.1, -70: 10.95, -60: 11.85, -50: 11.9, -40: 11.75, -30: 11.05, -20: 9.9, -10: 8.45, 0: 7.35,
    10: 6.6, 20: 5.75, 30: 5.5, 40: 5.35, 50: 5.25, 60: 5.3, 70: 5.9, 80: 6.5, 90: 8.0,
}  # fmt: skip
"""The right half of the heart at scale 1: radius in pixels about (0, 1), y down, by angle in degrees."""


def draw_sprites(levels: IntArray) -> UInt8Array:
    """Return the images (N, 1, 64, 64) at grid levels (N, 5): shape, scale, orientation, x, y."""
    return np.stack([_sprite(*row) for row in levels.tolist()])[:, None]


def _sprite(shape: int, scale: int, orientation: int, x: int, y: int) -> UInt8Array:
    from PIL import Image, ImageDraw

    angle = -2 * np.pi * orientation / 39
    outline = (0.5 + 0.1 * scale) * _OUTLINES[shape]
    turned = outline @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.array([16 + 32 * x / 31, 16 + 32 * y / 31])
    picture = Image.new("L", (SUPERSAMPLING * SIZE, SUPERSAMPLING * SIZE))
    ImageDraw.Draw(picture).polygon([(float(a), float(b)) for a, b in SUPERSAMPLING * (turned + centre)], fill=255)
    return np.where(np.asarray(picture.reduce(SUPERSAMPLING)) >= THRESHOLD, 255, 0).astype(np.uint8)


def _heart() -> Any:
    angle, radius = np.radians(list(HEART)), np.array(list(HEART.values()))
    fine = np.linspace(-np.pi / 2, np.pi / 2, 91)
    size = np.interp(fine, angle, radius)
    right = np.stack([size * np.cos(fine), 1 + size * np.sin(fine)], axis=1)
    return np.concatenate([right, right[-2:0:-1] * np.array([-1.0, 1.0])])


def _ellipse() -> Any:
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    return np.stack([12.8 * np.cos(angle), 7.2 * np.sin(angle)], axis=1)


_OUTLINES = [9.625 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]), _ellipse(), _heart()]
"""(E, 2) corners of square, ellipse and heart at scale 1, in pixels about the centre, y down."""


def draw_rooms(levels: IntArray, size: int) -> UInt8Array:
    """Return the images (N, 3, size, size) at grid levels (N, 6): three hues, scale, shape, orientation."""
    from pbt_disent.data.worlds.rooms import AZIMUTHS, PALETTE, SCALES, SOLIDS, cast_view

    images = []
    for floor, wall, thing, scale, shape, orientation in levels.tolist():
        view = 255 * cast_view(SOLIDS[shape](float(SCALES[scale])), float(AZIMUTHS[orientation]), size)
        colours = [PALETTE[hue][:, :, None] * part for hue, part in zip((floor, wall, thing), view[:3], strict=True)]
        images.append(np.rint(np.minimum(sum(colours, view[3:]), 255.0)).astype(np.uint8))
    return np.stack(images)
