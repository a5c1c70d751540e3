"""`rooms`: geometry against brute force, and what makes a room: occlusion, a shadow that moves, shading over a face."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from pbt_disent.data import load
from pbt_disent.data.worlds.rooms import (
    FLOOR,
    OBJECT,
    SOLIDS,
    WALL,
    Box,
    Capsule,
    Cylinder,
    Rooms,
    Solid,
    Sphere,
    cast_view,
)
from pbt_disent.errors import UserError

SIZES = (10, 10, 10, 8, 4, 15)
CUBE, CYLINDER, SPHERE, CAPSULE = range(4)


def in_box(p: np.ndarray) -> np.ndarray:
    return (np.abs(p - [[0], [0.82], [0]]) <= 0.82).all(axis=0)


def in_cylinder(p: np.ndarray) -> np.ndarray:
    return (np.hypot(p[0], p[2]) <= 0.85) & (p[1] >= 0) & (p[1] <= 1.7)


def in_sphere(p: np.ndarray) -> np.ndarray:
    return np.linalg.norm(p - [[0], [1], [0]], axis=0) <= 1


def in_capsule(p: np.ndarray) -> np.ndarray:
    return np.sqrt(p[0] ** 2 + p[2] ** 2 + (p[1] - np.clip(p[1], 0.66, 1.64)) ** 2) <= 0.66


@pytest.mark.parametrize(
    ("kind", "inside"),
    [(Box, in_box), (Cylinder, in_cylinder), (Sphere, in_sphere), (Capsule, in_capsule)],
)
@pytest.mark.parametrize("scale", [1.0, 0.75])
def test_rays_meet_solids_where_small_steps_do(
    kind: type[Solid], inside: Callable[[np.ndarray], np.ndarray], scale: float
) -> None:
    rng = np.random.default_rng(0)
    origin = np.array([[4.0], [2.5], [3.0]])
    aim = rng.uniform(-1.3, 1.3, (3, 400)) + np.array([[0], [1], [0]])
    direction = (aim - origin) / np.linalg.norm(aim - origin, axis=0)
    distance = kind(scale).distance(origin, direction)
    steps = np.arange(2.0, 9.0, 0.002)
    marched = np.array([inside((origin + ray[:, None] * steps) / scale) for ray in direction.T])
    first = np.where(marched.any(axis=1), steps[marched.argmax(axis=1)], np.inf)
    grazing = np.isfinite(distance) != np.isfinite(first)
    assert grazing.mean() < 0.02
    assert 0.2 < np.isfinite(distance).mean() < 0.95
    np.testing.assert_allclose(distance[~grazing], first[~grazing], atol=0.0021)

    points = (origin + np.where(np.isfinite(distance), distance, 0) * direction)[:, np.isfinite(distance)]
    normal = kind(scale).normal(points)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=0), 1, atol=1e-6)
    assert not inside((points + 1e-4 * normal) / scale).any()
    assert inside((points - 1e-4 * normal) / scale).mean() > 0.99
    assert (((points - origin) * normal).sum(axis=0) < 0).all()


def test_rays_the_other_way_meet_nothing() -> None:
    origin, away = np.array([[4.0], [1.0], [0.3]]), np.array([[1.0], [0.0], [0.0]])
    for kind in SOLIDS:
        assert np.isinf(kind(1.0).distance(origin, away)).all()
        assert np.isfinite(kind(1.0).distance(origin, -away)).all()


def test_the_index_order_is_that_of_3d_shapes() -> None:
    rooms = Rooms()
    assert len(rooms) == 480_000
    assert rooms.factor_names == ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
    assert rooms.factor_sizes == SIZES
    np.testing.assert_array_equal(rooms.factors([1, 15, 60, 480, 4800, 48_000]), np.eye(6, dtype=int)[::-1])


def test_images_are_rgb_bytes_and_do_not_depend_on_their_batch() -> None:
    rooms = Rooms(size=16)
    indices = np.random.default_rng(1).integers(0, len(rooms), 70)
    images = rooms.images(indices)
    assert (images.shape, images.dtype) == ((70, 3, 16, 16), np.uint8)
    np.testing.assert_array_equal(images[40:45], Rooms(size=16).images(indices[40:45]))
    np.testing.assert_array_equal(images[3], rooms.images([int(indices[3])])[0])
    assert len(np.unique(images.reshape(70, -1), axis=0)) == len(np.unique(indices))


def shares(scale: float = 1.0, azimuth: float = 0.0, kind: type[Solid] = Sphere) -> np.ndarray:
    return cast_view(kind(scale), azimuth, 64)


def test_the_object_hides_floor_and_wall() -> None:
    small, large = shares(0.75), shares(1.25)
    covered = (large[OBJECT] > 0) & (large[[FLOOR, WALL]].sum(axis=0) == 0) & (small[OBJECT] == 0)
    assert (small[FLOOR][covered] > 0).sum() > 50
    assert (small[WALL][covered] > 0).sum() > 50
    tall = shares(1.25, kind=Capsule)
    assert ((tall[OBJECT] > 0.2) & (small[WALL] > 0.2)).sum() > 50


def shadow(azimuth: float, scale: float = 1.0) -> np.ndarray:
    """Floor pixels that are much darker than in the same view of a tiny solid."""
    bare, view = shares(1e-3, azimuth), shares(scale, azimuth)
    return (bare[FLOOR] > 0.4) & (view[FLOOR] > 0) & (view[OBJECT] == 0) & (view[FLOOR] < 0.75 * bare[FLOOR])


def test_the_shadow_lies_at_the_object_and_moves_with_it() -> None:
    left, middle, right = (shadow(angle) for angle in np.radians([-30, 0, 30]))
    for dark, azimuth in ((left, -30), (middle, 0), (right, 30)):
        assert dark.sum() > 30
        body = shares(1.0, np.radians(azimuth))[OBJECT] > 0
        beside = body.copy()
        for axis in (0, 1):
            for step in (-2, -1, 1, 2):
                beside |= np.roll(body, step, axis)
        assert (beside & dark).sum() > 5
    columns = [np.nonzero(dark)[1].mean() for dark in (left, middle, right)]
    assert columns[0] < columns[1] < columns[2]
    assert columns[2] - columns[0] > 6
    assert shadow(0.3, 1.25).sum() > 1.5 * shadow(0.3, 0.75).sum()


def test_the_shadow_has_a_soft_edge() -> None:
    bare, view = shares(1e-3, 0.5), shares(1.0, 0.5)
    clear = (view[OBJECT] == 0) & (view[FLOOR] > 0) & (bare[FLOOR] > 0.4)
    ratio = view[FLOOR][clear] / bare[FLOOR][clear]
    assert ((ratio > 0.6) & (ratio < 0.9)).sum() > 10
    assert (ratio < 0.6).sum() > 20


def test_shading_varies_over_one_face() -> None:
    for azimuth in np.radians([-30, 0, 30]):
        cube = shares(1.25, float(azimuth), Box)
        row = cube[OBJECT][36]
        inside = np.flatnonzero(row > 0.1)[2:-2]
        jump = int(np.abs(np.diff(row[inside])).argmax())
        for face in (inside[:jump], inside[jump + 2 :]):
            if len(face) > 8:
                column = cube[OBJECT][30:42, face]
                assert np.ptp(column) > 0.02
                assert np.abs(np.diff(column, axis=1)).max() < 0.05
    floor = shares()[FLOOR][58]
    assert np.ptp(floor) > 0.02


def test_light_is_not_cut_off() -> None:
    for kind in SOLIDS:
        for azimuth in (-0.5, 0.5):
            view = shares(1.25, azimuth, kind)
            assert view.min() >= 0
            assert (view[:3] > 0.995).mean() < 0.02


def test_every_pixel_is_floor_wall_object_or_sky() -> None:
    view = shares()
    for material in range(3):
        assert (view[material] > 0.3).sum() > 100
    sky = view[3:].min(axis=0) > 0.3
    assert sky[0].all()
    assert not sky[20:].any()


@pytest.mark.parametrize(("factor", "material"), [(0, FLOOR), (1, WALL), (2, OBJECT)])
def test_a_hue_colours_its_own_surface_only(factor: int, material: int) -> None:
    rooms = Rooms()
    ids = [1, 4, 8, 3, 2, 9]
    other = [*ids]
    other[factor] = (ids[factor] + 5) % 10
    first, second = rooms.images([int(np.ravel_multi_index(levels, SIZES)) for levels in (ids, other)]).astype(int)
    changed = np.abs(first - second).max(axis=0) > 0
    shown = rooms.view(3, 2, 9)[material].reshape(64, 64)
    assert not changed[shown == 0].any()
    assert changed[shown > 13].all()


def test_ten_hues_are_told_apart() -> None:
    rooms = Rooms(size=16)
    corner = rooms.images(np.arange(10) * 48_000)[:, :, -1, 8].astype(int)
    assert np.abs(corner[:, None] - corner[None]).max(axis=2)[~np.eye(10, dtype=bool)].min() > 40


def test_smaller_images_show_the_same_scene() -> None:
    index = [int(np.ravel_multi_index((3, 6, 0, 5, shape, 4), SIZES)) for shape in range(4)]
    large = Rooms().images(index).astype(float).reshape(4, 3, 32, 2, 32, 2).mean(axis=(3, 5))
    difference = np.abs(Rooms(size=32).images(index) - large)
    assert difference.mean() < 2
    assert np.quantile(difference, 0.99) < 30


def test_a_part_of_the_grid_and_its_pickle() -> None:
    part = load("rooms", size=16, grid={"floor_hue": [2, 7], "shape": 2, "orientation": 3, "scale": 3})
    assert part.factor_sizes == (2, 10, 10, 3, 2, 3)
    place = int(np.ravel_multi_index((1, 4, 0, 1, 1, 2), part.factor_sizes))
    same = int(np.ravel_multi_index((7, 4, 0, 4, 3, 14), SIZES))
    np.testing.assert_array_equal(part.images([place]), Rooms(size=16).images([same]))
    pickled = pickle.dumps(part)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled).images([place]), part.images([place]))
    assert part.fingerprint != Rooms(size=16).fingerprint != Rooms().fingerprint


@pytest.mark.parametrize("size", [4, 512, 20.5])
def test_sizes_that_make_no_sense_are_refused(size: float) -> None:
    with pytest.raises(UserError, match=r"must be (a whole number )?in 8 to 256"):
        load("rooms", size=size)
