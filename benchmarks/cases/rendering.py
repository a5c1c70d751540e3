"""Rendering the two worlds: image by image against what the package does, and the full grids to disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from benchmarks.case import CASES, Case, Contest, Disagreement, Goal, Measure, Setting
from benchmarks.peers.drawing import draw_rooms, draw_sprites
from benchmarks.timing import timed
from pbt_disent.data.grid import GridOption
from pbt_disent.types import UInt8Array

__all__ = ["prepare_rooms", "prepare_sprites"]

MEAN_WRONG, MOST_WRONG = 2.5, 20
"""Pixels of 4,096 in which two renderings of a sprite may differ: at most the row beside one side of a square."""


def prepare_sprites(setting: Setting) -> Contest:
    """A part of dSprites' grid spread over all its factors; the sides are held to a few border pixels."""
    from pbt_disent.data.renderers.sprites import Sprites

    spread: GridOption = {name: setting.pick(full, 3, 2) for name, full in {"orientation": 10, "x": 4, "y": 4}.items()}
    world = Sprites(64, spread)
    everything = np.arange(len(world))
    levels = world.grid.published(everything)

    def ours() -> UInt8Array:
        return Sprites(64, spread).images(everything)

    def agree() -> str:
        wrong = (ours() != draw_sprites(levels)).sum(axis=(1, 2, 3))
        if wrong.mean() > MEAN_WRONG or wrong.max() > MOST_WRONG:
            raise Disagreement(f"sprites differ in {wrong.mean():.2f} pixels on average and {wrong.max()} at most")
        return f"{wrong.mean():.2f} of 4,096 pixels differ on average, {wrong.max()} at most"

    mine = timed("outlines by exact coverage", ours, pieces=len(world))
    peer = timed("Pillow, each image at 8 times the size", lambda: draw_sprites(levels), pieces=len(world))
    measures = partial(_full_grid, setting, "sprites", 90.0, mine.name)
    return Contest(mine, [peer], agree, setting.pick(3, 3, 1), "s/image", measures)


def prepare_rooms(setting: Setting) -> Contest:
    """All colours of one view, so that it serves as many images as in the full grid; the peer draws some of them."""
    from pbt_disent.data.renderers.rooms import Rooms

    hues = setting.pick(10, 10, 2)
    grid: GridOption = {"floor_hue": hues, "wall_hue": hues, "object_hue": hues, "scale": 1, "shape": 1}
    grid = {**grid, "orientation": 1}
    size = setting.pick(64, 64, 16)
    world = Rooms(size, grid)
    everything = np.arange(len(world))
    some = everything[:: setting.pick(20, 50, 1)]
    levels = world.grid.published(some)

    def agree() -> str:
        apart = np.abs(world.images(some).astype(int) - draw_rooms(levels, size)).max()
        if apart > 1:
            raise Disagreement(f"rooms differ by {apart} grey levels")
        return f"grey levels within {apart}"

    mine = timed("a view cast once, then coloured", lambda: Rooms(size, grid).images(everything), pieces=len(world))
    peer = timed("each image cast anew", lambda: draw_rooms(levels, size), pieces=len(some))
    measures = partial(_full_grid, setting, "rooms", 120.0, mine.name)
    return Contest(mine, [peer], agree, setting.pick(3, 3, 1), "s/image", measures)


def _full_grid(setting: Setting, name: str, goal: float, side: str, medians: Mapping[str, float]) -> Sequence[Measure]:
    """Return the images a second of one process, and at full size, once, the time of the full grid to disk."""
    from pbt_disent.data import load, materialise
    from pbt_disent.machine import usable_cpus

    rate = Measure("drawn by one process", 1 / medians[side], "images/s")
    if setting.size != "full" or not setting.first:
        return [rate]
    begun = time.perf_counter()
    materialise(load(name), setting.folder / name, processes=usable_cpus())
    seconds = time.perf_counter() - begun
    return [rate, Measure(f"full grid to disk with {usable_cpus()} processes", seconds, "s", Goal(goal, at_most=True))]


CASES.register("render-sprites")(Case("drawing sprites: against Pillow, image by image", prepare_sprites))
CASES.register("render-rooms")(Case("drawing rooms: against casting every image", prepare_rooms))
