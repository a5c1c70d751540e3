"""Four solids standing on the floor at the origin: where rays meet them, and which way their surfaces face.

Points and directions are (3, M) with y up, in units of the solid's size at scale 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pbt_disent.types import FloatArray

__all__ = ["SOLIDS", "Box", "Capsule", "Cylinder", "Solid", "Sphere"]


@dataclass(frozen=True)
class Solid:
    """A convex solid.

    Attributes:
        scale: what all its lengths are multiplied by.
    """

    scale: float

    def distance(self, origin: FloatArray, direction: FloatArray) -> FloatArray:
        """Return how many `direction`s from `origin` each ray enters the solid, (M,); infinity where it never does."""
        raise NotImplementedError

    def normal(self, points: FloatArray) -> FloatArray:
        """Return the outward unit normals (3, M) at points of the surface."""
        raise NotImplementedError


@dataclass(frozen=True)
class Box(Solid):
    """A cube with its sides along x and z."""

    half: float = 0.82

    def distance(self, origin: FloatArray, direction: FloatArray) -> FloatArray:
        """Return the distances, (M,)."""
        half = self.half * self.scale
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = (self._centre() + np.array([[[-half]], [[half]]]) - origin) / direction
        near, far = ends.min(axis=0).max(axis=0), ends.max(axis=0).min(axis=0)
        return np.where((near <= far) & (near > 0), near, np.inf)

    def normal(self, points: FloatArray) -> FloatArray:
        """Return the normals, (3, M)."""
        offset = points - self._centre()
        axis = np.abs(offset).argmax(axis=0)
        return np.where(np.arange(3)[:, None] == axis, np.sign(offset), 0.0)

    def _centre(self) -> FloatArray:
        return np.array([[0.0], [self.half * self.scale], [0.0]])


@dataclass(frozen=True)
class Cylinder(Solid):
    """An upright cylinder."""

    radius: float = 0.85
    height: float = 1.7

    def distance(self, origin: FloatArray, direction: FloatArray) -> FloatArray:
        """Return the distances, (M,)."""
        radius, height = self.radius * self.scale, self.height * self.scale
        side = _round_distance(origin[::2], direction[::2], radius)
        level = _height_at(origin, direction, side)
        side = np.where((level >= 0) & (level <= height), side, np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            top = (height - origin[1]) / direction[1]
            across = ((origin[::2] + top * direction[::2]) ** 2).sum(axis=0)
        top = np.where((across <= radius**2) & (top > 0), top, np.inf)
        return np.minimum(side, top)

    def normal(self, points: FloatArray) -> FloatArray:
        """Return the normals, (3, M)."""
        radial = points * np.array([[1.0], [0.0], [1.0]]) / (self.radius * self.scale)
        on_top = points[1] > self.height * self.scale - 1e-6
        return np.where(on_top, np.array([[0.0], [1.0], [0.0]]), radial)


@dataclass(frozen=True)
class Sphere(Solid):
    """A ball."""

    radius: float = 1.0

    def distance(self, origin: FloatArray, direction: FloatArray) -> FloatArray:
        """Return the distances, (M,)."""
        return _round_distance(origin - self._centre(), direction, self.radius * self.scale)

    def normal(self, points: FloatArray) -> FloatArray:
        """Return the normals, (3, M)."""
        return (points - self._centre()) / (self.radius * self.scale)

    def _centre(self) -> FloatArray:
        return np.array([[0.0], [self.radius * self.scale], [0.0]])


@dataclass(frozen=True)
class Capsule(Solid):
    """An upright cylinder with a half ball at each end."""

    radius: float = 0.66
    height: float = 2.3

    def distance(self, origin: FloatArray, direction: FloatArray) -> FloatArray:
        """Return the distances, (M,)."""
        radius = self.radius * self.scale
        low, high = self._ends()
        side = _round_distance(origin[::2], direction[::2], radius)
        level = _height_at(origin, direction, side)
        found = np.where((level >= low) & (level <= high), side, np.inf)
        for end in (low, high):
            ball = _round_distance(origin - np.array([[0.0], [end], [0.0]]), direction, radius)
            found = np.minimum(found, ball)
        return found

    def normal(self, points: FloatArray) -> FloatArray:
        """Return the normals, (3, M)."""
        axis = np.zeros_like(points)
        axis[1] = np.clip(points[1], *self._ends())
        return (points - axis) / (self.radius * self.scale)

    def _ends(self) -> tuple[float, float]:
        """Return the heights of the centres of the two half balls."""
        return self.radius * self.scale, (self.height - self.radius) * self.scale


SOLIDS: tuple[type[Solid], ...] = (Box, Cylinder, Sphere, Capsule)
"""In the order of 3D Shapes."""


def _round_distance(origin: FloatArray, direction: FloatArray, radius: float) -> FloatArray:
    """Return where rays enter a ball about 0 or, given two coordinates, an endless upright cylinder."""
    a = (direction**2).sum(axis=0)
    b = (origin * direction).sum(axis=0)
    root = b**2 - a * ((origin**2).sum(axis=0) - radius**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (-b - np.sqrt(np.maximum(root, 0.0))) / a
    return np.where((root > 0) & (distance > 0), distance, np.inf)


def _height_at(origin: FloatArray, direction: FloatArray, distance: FloatArray) -> FloatArray:
    """Return the height of the points at `distance`; of those at infinity a height below the floor."""
    return np.where(
        np.isfinite(distance), origin[1] + np.where(np.isfinite(distance), distance, 0) * direction[1], -1.0
    )
