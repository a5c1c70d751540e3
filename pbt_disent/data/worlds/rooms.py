"""`rooms`: a coloured solid in a coloured room, on the factor grid of 3D Shapes and in its index order.

The factors are those of 3D Shapes (Burgess and Kim 2018, github.com/deepmind/3d-shapes): hue of floor, wall and
object, scale, shape (cube, cylinder, sphere, capsule) and orientation, which turns the camera about the object by -30
to 30 degrees. The pictures are this package's own, cast ray by ray: a floor, two walls, a solid, a lamp with its soft
shadow, and the sky.

A picture is linear in the three colours of floor, wall and object. So a view is kept as six maps, how much of each
colour a pixel shows and what it shows besides (sky and highlights), and the colours are put in later. Points and
directions are (3, M) with y up.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pbt_disent.data.base import Indices, as_indices
from pbt_disent.data.grid import FactorGrid
from pbt_disent.data.worlds import WORLDS, World
from pbt_disent.types import FloatArray, UInt8Array

__all__ = ["FLOOR", "OBJECT", "SOLIDS", "WALL", "Box", "Capsule", "Cylinder", "Rooms", "Solid", "Sphere", "cast_view"]

SIZES = {"floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15}
PALETTE = np.array([colorsys.hsv_to_rgb(level / 10, 0.88, 1.0) for level in range(10)], np.float32)[:, :, None]
SCALES = np.linspace(0.75, 1.25, SIZES["scale"])
AZIMUTHS = np.radians(np.linspace(-30.0, 30.0, SIZES["orientation"]))

FLOOR, WALL, OBJECT, SKY = range(4)
WALL_DISTANCE = 5.0
WALL_HEIGHT = 3.3
CAMERA_DISTANCE, CAMERA_HEIGHT = 10.0, 4.0
CAMERA_TARGET = np.array([[0.0], [1.2], [0.0]])
HALF_FIELD_OF_VIEW = 0.29
CORNER_AZIMUTH = np.pi / 4
LAMP = np.array([[2.1], [6.6], [5.2]])
LAMP_RADIUS = 0.45
LAMP_FALLOFF = 8.0
AMBIENT, DIFFUSE, SPECULAR = 0.36, 1.1, 0.25
SHININESS = 30.0
HORIZON, ZENITH = np.array([[0.80], [0.90], [1.0]]), np.array([[0.40], [0.62], [0.95]])
RAYS_PER_SIDE = 4
SHADOW_BIAS = 1e-4
"""How far off its surface a shadow ray starts, so that the surface does not shade itself."""


@WORLDS.register("rooms")
class Rooms(World):
    """Pictures of a room, (3, H, W): floor hue, wall hue, object hue, scale, shape, orientation.

    Example:
        >>> world = Rooms(size=16, grid={"shape": 2, "orientation": 1})
        >>> len(world), world.images([0]).shape
        (16000, (1, 3, 16, 16))
    """

    full_grid = FactorGrid.full(SIZES)
    channels = 3
    version = 1

    @cached_property
    def _views(self) -> dict[tuple[int, int, int], FloatArray]:
        """The views that were cast so far (a private attribute of pydantic takes 4 us to look up, for every image)."""
        return {}

    def images(self, indices: Indices) -> UInt8Array:
        """Return the images at `indices`, (N, 3, H, W); a view is cast when first asked for, and kept."""
        indices = as_indices(indices, len(self))
        images = np.empty((len(indices), *self.shape), dtype=np.uint8)
        picture = np.empty((3, self.size * self.size), dtype=np.float32)
        coloured = np.empty_like(picture)
        for image, levels in zip(
            images.reshape(len(images), *picture.shape), self.factor_grid.published(indices).tolist(), strict=True
        ):
            view = self.view(*levels[3:])
            picture[:] = view[3:]
            for material in (FLOOR, WALL, OBJECT):
                picture += np.multiply(PALETTE[levels[material]], view[material], out=coloured)
            np.rint(np.minimum(picture, 255.0, out=picture), out=picture)
            image[:] = picture
        return images

    def view(self, scale: int, shape: int, orientation: int) -> FloatArray:
        """Return the six maps of `cast_view`, times 255, for published levels, (6, H * W)."""
        key = (scale, shape, orientation)
        if key not in self._views:
            solid = SOLIDS[shape](float(SCALES[scale]))
            self._views[key] = 255 * cast_view(solid, float(AZIMUTHS[orientation]), self.size).reshape(6, -1)
        return self._views[key]


@dataclass(frozen=True)
class Solid:
    """A convex solid that stands on the floor at the origin.

    Attributes:
        scale: The factor by which all lengths of the solid are multiplied.
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

    half_side: float = 0.82

    def distance(self, origin: FloatArray, direction: FloatArray) -> FloatArray:
        """Return the distances, (M,)."""
        half = self.half_side * self.scale
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
        return np.array([[0.0], [self.half_side * self.scale], [0.0]])


@dataclass(frozen=True)
class Cylinder(Solid):
    """An upright cylinder."""

    radius: float = 0.85
    height: float = 1.7

    def distance(self, origin: FloatArray, direction: FloatArray) -> FloatArray:
        """Return the distances, (M,)."""
        radius, height = self.radius * self.scale, self.height * self.scale
        side = _quadric_distance(origin[::2], direction[::2], radius)
        hit_height = _height_at(origin, direction, side)
        side = np.where((hit_height >= 0) & (hit_height <= height), side, np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            top = (height - origin[1]) / direction[1]
            across = ((origin[::2] + top * direction[::2]) ** 2).sum(axis=0)
        top = np.where((across <= radius**2) & (top > 0), top, np.inf)
        return np.minimum(side, top)

    def normal(self, points: FloatArray) -> FloatArray:
        """Return the normals, (3, M)."""
        radial = points * np.array([[1.0], [0.0], [1.0]]) / (self.radius * self.scale)
        is_top = points[1] > self.height * self.scale - 1e-6
        return np.where(is_top, np.array([[0.0], [1.0], [0.0]]), radial)


@dataclass(frozen=True)
class Sphere(Solid):
    """A ball."""

    radius: float = 1.0

    def distance(self, origin: FloatArray, direction: FloatArray) -> FloatArray:
        """Return the distances, (M,)."""
        return _quadric_distance(origin - self._centre(), direction, self.radius * self.scale)

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
        low, high = self._ball_heights()
        side = _quadric_distance(origin[::2], direction[::2], radius)
        hit_height = _height_at(origin, direction, side)
        nearest = np.where((hit_height >= low) & (hit_height <= high), side, np.inf)
        for height in (low, high):
            ball = _quadric_distance(origin - np.array([[0.0], [height], [0.0]]), direction, radius)
            nearest = np.minimum(nearest, ball)
        return nearest

    def normal(self, points: FloatArray) -> FloatArray:
        """Return the normals, (3, M)."""
        axis = np.zeros_like(points)
        axis[1] = np.clip(points[1], *self._ball_heights())
        return (points - axis) / (self.radius * self.scale)

    def _ball_heights(self) -> tuple[float, float]:
        """Return the heights of the centres of the two half balls."""
        return self.radius * self.scale, (self.height - self.radius) * self.scale


SOLIDS: tuple[type[Solid], ...] = (Box, Cylinder, Sphere, Capsule)
"""In the order of 3D Shapes."""


def cast_view(solid: Solid, azimuth: float, size: int) -> FloatArray:
    """Return the view of a solid in the room.

    Args:
        solid: The solid that stands in the middle.
        azimuth: The angle of the camera about the middle in radians; 0 looks into the corner.
        size: The height and width of the view in pixels.

    Returns:
        Six maps, (6, size, size) float32: how much of the floor's, the wall's and the object's colour each pixel shows,
        then the red, green and blue that it shows besides, all 0 to 1. A pixel is the mean of 16 rays, each to another
        point of the lamp.
    """
    eye, direction = _camera_rays(azimuth, size)
    distance, material, normal = _first_hit(solid, eye, direction)
    points = eye + distance * direction
    to_lamp = _lamp_points(size) - points
    lamp_distance = np.sqrt((to_lamp**2).sum(axis=0))
    to_lamp = to_lamp / lamp_distance
    facing = np.maximum((normal * to_lamp).sum(axis=0), 0.0)
    start = points + SHADOW_BIAS * normal
    is_lit = (facing > 0) & ~((solid.distance(start, to_lamp) < lamp_distance) & (material != OBJECT))
    light = AMBIENT + DIFFUSE * np.where(is_lit, facing, 0.0) / (1.0 + (lamp_distance / LAMP_FALLOFF) ** 2)
    halfway = to_lamp - direction
    highlight = (normal * halfway).sum(axis=0) / np.sqrt((halfway**2).sum(axis=0))
    highlight = np.where(is_lit & (material == OBJECT), SPECULAR * np.maximum(highlight, 0.0) ** SHININESS, 0.0)
    elevation = np.clip(direction[1] * 3.0, 0.0, 1.0)
    sky = HORIZON + (ZENITH - HORIZON) * elevation
    maps = [np.where(material == surface, np.minimum(light, 1.0), 0.0) for surface in (FLOOR, WALL, OBJECT)]
    colourless = np.where(material == SKY, sky, highlight)
    view = np.concatenate([np.stack(maps), colourless]).reshape(6, size, RAYS_PER_SIDE, size, RAYS_PER_SIDE)
    return np.asarray(view.mean(axis=(2, 4)), dtype=np.float32)


def _camera_rays(azimuth: float, size: int) -> tuple[FloatArray, FloatArray]:
    """Return the eye (3, 1) and one unit direction per ray (3, M), row by row from the top left."""
    angle = CORNER_AZIMUTH + azimuth
    eye = np.array([[CAMERA_DISTANCE * np.sin(angle)], [CAMERA_HEIGHT], [CAMERA_DISTANCE * np.cos(angle)]])
    forward = _unit(CAMERA_TARGET - eye)
    right = _unit(np.array([-forward[2], [0.0], forward[0]]))
    up = np.cross(right, forward, axis=0)
    count = size * RAYS_PER_SIDE
    across = HALF_FIELD_OF_VIEW * (2 * (np.arange(count) + 0.5) / count - 1)
    columns, rows = np.meshgrid(across, -across)
    return eye, _unit(forward + columns.reshape(-1) * right + rows.reshape(-1) * up)


def _first_hit(solid: Solid, eye: FloatArray, direction: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the distance (M,), the material (M,) and the normal (3, M) of what each ray meets first."""
    with np.errstate(divide="ignore"):
        floor = np.where(direction[1] < 0, -eye[1] / direction[1], np.inf)
        walls = [
            np.where(direction[axis] < 0, (-WALL_DISTANCE - eye[axis]) / direction[axis], np.inf) for axis in (0, 2)
        ]
    distances = np.stack([floor, *walls, solid.distance(eye, direction)])
    surface = distances.argmin(axis=0)
    distance = distances.min(axis=0)
    with np.errstate(invalid="ignore"):
        height = eye[1] + distance * direction[1]
    is_sky = ~np.isfinite(distance) | (((surface == 1) | (surface == 2)) & (height > WALL_HEIGHT))
    distance = np.where(is_sky, 1.0, distance)
    material = np.where(is_sky, SKY, np.array([FLOOR, WALL, WALL, OBJECT])[surface])
    normal = np.zeros((3, direction.shape[1]))
    for plane, axis in ((0, 1), (1, 0), (2, 2)):
        normal[axis, surface == plane] = 1.0
    is_solid = surface == 3
    normal[:, is_solid] = solid.normal((eye + distance * direction)[:, is_solid])
    return distance, material, normal


def _lamp_points(size: int) -> FloatArray:
    """Return a point of the round lamp for each ray: the 16 rays of a pixel see 16 points, the same in each pixel."""
    count = RAYS_PER_SIDE * RAYS_PER_SIDE
    angle = np.arange(count) * np.pi * (3 - np.sqrt(5))
    radius = LAMP_RADIUS * np.sqrt((np.arange(count) + 0.5) / count)
    points = LAMP + np.stack([radius * np.cos(angle), np.zeros(count), radius * np.sin(angle)])
    return np.tile(points.reshape(3, RAYS_PER_SIDE, RAYS_PER_SIDE), (1, size, size)).reshape(3, -1)


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.sqrt((vectors**2).sum(axis=0)))


def _quadric_distance(origin: FloatArray, direction: FloatArray, radius: float) -> FloatArray:
    """Return where rays enter a ball about 0 or, given two coordinates, an endless upright cylinder."""
    a = (direction**2).sum(axis=0)
    b = (origin * direction).sum(axis=0)
    discriminant = b**2 - a * ((origin**2).sum(axis=0) - radius**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (-b - np.sqrt(np.maximum(discriminant, 0.0))) / a
    return np.where((discriminant > 0) & (distance > 0), distance, np.inf)


def _height_at(origin: FloatArray, direction: FloatArray, distance: FloatArray) -> FloatArray:
    """Return the height of the points at `distance`; of those at infinity a height below the floor."""
    return np.where(
        np.isfinite(distance), origin[1] + np.where(np.isfinite(distance), distance, 0) * direction[1], -1.0
    )
