"""One view of a room, cast ray by ray: a floor, two walls, a solid, a lamp with its soft shadow, and the sky.

The picture is linear in the three colours of floor, wall and object. So a view is kept as four maps, how much of each
colour a pixel shows and what it shows besides (sky and highlights), and the colours are put in later.
"""

from __future__ import annotations

import numpy as np

from pbt_disent.data.solids import Solid
from pbt_disent.types import FloatArray

__all__ = ["FLOOR", "OBJECT", "WALL", "cast"]

FLOOR, WALL, OBJECT = range(3)
SKY = 3
ROOM = 5.0
WALL_HEIGHT = 3.3
DISTANCE, EYE_HEIGHT = 10.0, 4.0
TARGET = np.array([[0.0], [1.2], [0.0]])
FIELD = 0.29
SIDE = np.pi / 4
LAMP = np.array([[2.1], [6.6], [5.2]])
LAMP_RADIUS = 0.45
AMBIENT, DIFFUSE, HIGHLIGHT = 0.36, 1.1, 0.25
REACH = 8.0
SHARPNESS = 30.0
SKY_LOW, SKY_HIGH = np.array([[0.80], [0.90], [1.0]]), np.array([[0.40], [0.62], [0.95]])
RAYS = 4
AWAY = 1e-4


def cast(solid: Solid, azimuth: float, size: int) -> FloatArray:
    """Return the view of a solid in the room.

    Args:
        solid: what stands in the middle.
        azimuth: of the camera about the middle, in radians; 0 looks into the corner.
        size: height and width in pixels.

    Returns:
        (6, size, size) float32: how much of the floor's, the wall's and the object's colour each pixel shows, then the
        red, green and blue that it shows besides, all 0 to 1. A pixel is the mean of 16 rays, each to another point of
        the lamp.
    """
    eye, direction = _camera(azimuth, size)
    distance, material, normal = _nearest(solid, eye, direction)
    points = eye + distance * direction
    toward = _lamp_points(size) - points
    reach = np.sqrt((toward**2).sum(axis=0))
    toward = toward / reach
    facing = np.maximum((normal * toward).sum(axis=0), 0.0)
    start = points + AWAY * normal
    lit = (facing > 0) & ~((solid.distance(start, toward) < reach) & (material != OBJECT))
    light = AMBIENT + DIFFUSE * np.where(lit, facing, 0.0) / (1.0 + (reach / REACH) ** 2)
    halfway = toward - direction
    shine = (normal * halfway).sum(axis=0) / np.sqrt((halfway**2).sum(axis=0))
    shine = np.where(lit & (material == OBJECT), HIGHLIGHT * np.maximum(shine, 0.0) ** SHARPNESS, 0.0)
    climb = np.clip(direction[1] * 3.0, 0.0, 1.0)
    sky = SKY_LOW + (SKY_HIGH - SKY_LOW) * climb
    maps = [np.where(material == kind, np.minimum(light, 1.0), 0.0) for kind in (FLOOR, WALL, OBJECT)]
    besides = np.where(material == SKY, sky, shine)
    view = np.concatenate([np.stack(maps), besides]).reshape(6, size, RAYS, size, RAYS)
    return np.asarray(view.mean(axis=(2, 4)), dtype=np.float32)


def _camera(azimuth: float, size: int) -> tuple[FloatArray, FloatArray]:
    """Return the eye (3, 1) and one unit direction per ray (3, M), row by row from the top left."""
    angle = SIDE + azimuth
    eye = np.array([[DISTANCE * np.sin(angle)], [EYE_HEIGHT], [DISTANCE * np.cos(angle)]])
    forward = _unit(TARGET - eye)
    right = _unit(np.array([-forward[2], [0.0], forward[0]]))
    up = np.cross(right, forward, axis=0)
    across = FIELD * (2 * (np.arange(size * RAYS) + 0.5) / (size * RAYS) - 1)
    columns, rows = np.meshgrid(across, -across)
    return eye, _unit(forward + columns.reshape(-1) * right + rows.reshape(-1) * up)


def _nearest(solid: Solid, eye: FloatArray, direction: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the distance (M,), the material (M,) and the normal (3, M) of what each ray meets first."""
    rays = direction.shape[1]
    with np.errstate(divide="ignore"):
        floor = np.where(direction[1] < 0, -eye[1] / direction[1], np.inf)
        ahead = [np.where(direction[axis] < 0, (-ROOM - eye[axis]) / direction[axis], np.inf) for axis in (0, 2)]
    found = np.stack([floor, *ahead, solid.distance(eye, direction)])
    first = found.argmin(axis=0)
    distance = found.min(axis=0)
    with np.errstate(invalid="ignore"):
        height = eye[1] + distance * direction[1]
    open_air = ~np.isfinite(distance) | (((first == 1) | (first == 2)) & (height > WALL_HEIGHT))
    distance = np.where(open_air, 1.0, distance)
    material = np.where(open_air, SKY, np.array([FLOOR, WALL, WALL, OBJECT])[first])
    normal = np.zeros((3, rays))
    for surface, axis in ((0, 1), (1, 0), (2, 2)):
        normal[axis, first == surface] = 1.0
    on_solid = first == 3
    normal[:, on_solid] = solid.normal((eye + distance * direction)[:, on_solid])
    return distance, material, normal


def _lamp_points(size: int) -> FloatArray:
    """Return a point of the round lamp for each ray: the 16 rays of a pixel see 16 points, the same in each pixel."""
    count = RAYS * RAYS
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    radius = LAMP_RADIUS * np.sqrt((np.arange(count) + 0.5) / count)
    points = LAMP + np.stack([radius * np.cos(turn), np.zeros(count), radius * np.sin(turn)])
    return np.tile(points.reshape(3, RAYS, RAYS), (1, size, size)).reshape(3, -1)


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.sqrt((vectors**2).sum(axis=0)))
