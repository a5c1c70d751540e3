"""`sprites` against frames of the published set, and against what its factors mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pbt_disent.data import load
from pbt_disent.data.worlds.sprites import Sprites
from pbt_disent.errors import UserError

GRID = (3, 6, 40, 32, 32)


def index(**levels: int) -> int:
    full = {"shape": 0, "scale": 5, "orientation": 0, "x": 16, "y": 16, **levels}
    return int(np.ravel_multi_index([full[name] for name in ("shape", "scale", "orientation", "x", "y")], GRID))


def centre_of_mass(image: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(image)
    return float(columns.mean()), float(rows.mean())


def test_labelled_samples_differ_in_at_most_three_pixels(reference: Path) -> None:
    samples = np.load(reference / "dsprites_labelled_samples.npz")
    sprites = Sprites()
    rendered = sprites.images(samples["index"])[:, 0] // 255
    assert (rendered != samples["imgs"]).sum(axis=(1, 2)).max() <= 3
    np.testing.assert_array_equal(sprites.factors(samples["index"]), samples["classes"])


def test_published_frames_are_found_in_the_grid(reference: Path) -> None:
    frames = np.unpackbits(np.load(reference / "dsprites_published_frames.npz")["frames"], axis=1).astype(np.float32)
    sprites = Sprites()
    wrong = np.full(len(frames), np.inf)
    poses = np.stack(np.unravel_index(np.arange(len(sprites)), GRID), axis=1)
    corner = np.isin(poses[:, 3:], (0, 31)).all(axis=1)
    border = np.isin(poses[:, 3:], (0, 31)).any(axis=1) & (poses[:, 1] == 5) & (poses[:, 2] == 0)
    candidates = np.flatnonzero(corner | border)
    for part in np.array_split(candidates, 8):
        rendered = (sprites.images(part).reshape(len(part), -1) // 255).astype(np.float32)
        distance = rendered.sum(axis=1)[:, None] + frames.sum(axis=1) - 2 * rendered @ frames.T
        wrong = np.minimum(wrong, distance.min(axis=0))
    assert wrong.mean() <= 1.0
    assert wrong.max() <= 4


def test_the_index_order_is_the_published_one() -> None:
    sprites = Sprites()
    assert len(sprites) == 737_280
    assert sprites.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert sprites.factor_sizes == GRID
    np.testing.assert_array_equal(sprites.factors([1, 32, 1024, 40_960, 245_760]), np.eye(5, dtype=int)[::-1])
    np.testing.assert_array_equal(sprites.factors([0, 737_279]), [[0, 0, 0, 0, 0], [2, 5, 39, 31, 31]])


def test_images_are_black_and_white_of_the_declared_shape() -> None:
    images = Sprites().images([0, 5, 700_000])
    assert images.shape == (3, 1, 64, 64)
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 255}


@pytest.mark.parametrize(("shape", "area"), [(0, 19.2**2), (1, np.pi * 12.775 * 7.225)])
def test_areas_are_those_of_the_solids(shape: int, area: float) -> None:
    grey = Sprites(antialias=True).images([index(shape=shape, orientation=7, scale=scale) for scale in (0, 5)])
    np.testing.assert_allclose(grey.sum(axis=(1, 2, 3)) / 255, [area / 4, area], rtol=4e-3)


def test_x_moves_right_and_y_moves_down_over_half_the_image() -> None:
    sprites = Sprites()
    left, right, top, bottom = (
        centre_of_mass(sprites.images([index(**pose)])[0, 0]) for pose in ({"x": 0}, {"x": 31}, {"y": 0}, {"y": 31})
    )
    assert right[0] - left[0] == pytest.approx(32.0, abs=0.1)
    assert bottom[1] - top[1] == pytest.approx(32.0, abs=0.1)
    assert left[0] == pytest.approx(15.5, abs=0.1)


def test_orientation_turns_against_the_clock() -> None:
    ellipse = Sprites().images([index(shape=1, orientation=3)])[0, 0]
    rows, columns = np.nonzero(ellipse)
    assert np.corrcoef(rows, columns)[0, 1] < -0.3


def test_the_heart_stands_on_its_tip_and_is_symmetric() -> None:
    heart = Sprites().images([index(shape=2, x=0, y=0)])[0, 0]
    widths = (heart > 0).sum(axis=1)
    filled = np.flatnonzero(widths)
    assert widths[filled[0] : filled[8]].max() > 4 * widths[filled[-1]]
    np.testing.assert_array_equal(heart[:, :32], heart[:, 31::-1])


def test_last_orientation_repeats_the_first() -> None:
    first, last = Sprites().images([index(shape=2, orientation=0), index(shape=2, orientation=39)])
    np.testing.assert_array_equal(first, last)


@pytest.mark.parametrize("size", [8, 16, 32, 33, 50, 96])
def test_other_sizes_show_the_same_scene(size: int) -> None:
    pose = [index(shape=shape, orientation=5, x=3, y=29) for shape in range(3)]
    small = Sprites(size=size, antialias=True).images(pose)[:, 0] / 255
    large = Sprites(antialias=True).images(pose)[:, 0] / 255
    assert small.shape == (3, size, size)
    np.testing.assert_allclose(small.sum(axis=(1, 2)) * (64 / size) ** 2, large.sum(axis=(1, 2)), rtol=0.01)
    for one, other in zip(small, large, strict=True):
        weights = [np.array(np.meshgrid(*[np.arange(n) + 0.5] * 2)) * (64 / n) for n in (size, 64)]
        centres = [(w * i).sum(axis=(1, 2)) / i.sum() for w, i in zip(weights, (one, other), strict=True)]
        np.testing.assert_allclose(centres[0], centres[1], atol=0.25)


def test_half_size_is_the_mean_of_two_by_two_pixels() -> None:
    pose = [index(shape=shape, orientation=11, x=9, y=4) for shape in range(3)]
    small = Sprites(size=32, antialias=True).images(pose)[:, 0].astype(float)
    large = Sprites(antialias=True).images(pose)[:, 0].astype(float)
    np.testing.assert_allclose(small, large.reshape(3, 32, 2, 32, 2).mean(axis=(2, 4)), atol=6.0)


def test_an_image_does_not_depend_on_its_batch() -> None:
    sprites = Sprites()
    indices = np.random.default_rng(3).integers(0, len(sprites), 200)
    together = sprites.images(indices)
    np.testing.assert_array_equal(together[150:160], sprites.images(indices[150:160]))
    np.testing.assert_array_equal(together[7], sprites.images([int(indices[7])])[0])


def test_a_part_of_the_grid_shows_the_published_levels() -> None:
    part = load("sprites", grid={"x": 8, "orientation": 10, "shape": [2, 0]})
    whole = Sprites()
    assert part.factor_sizes == (2, 6, 10, 8, 32)
    levels = {"shape": [2, 0], "orientation": [0, 4, 8, 12, 16, 20, 23, 27, 31, 35], "x": [0, 4, 9, 13, 18, 22, 27, 31]}
    wanted = int(np.ravel_multi_index([0, 2, 9, 7, 30], part.factor_sizes))
    same = index(shape=levels["shape"][0], scale=2, orientation=levels["orientation"][9], x=levels["x"][7], y=30)
    np.testing.assert_array_equal(part.images([wanted]), whole.images([same]))
    np.testing.assert_array_equal(part.factors([wanted]), [[0, 2, 9, 7, 30]])


def test_fingerprints_tell_sets_apart() -> None:
    variants = [Sprites(), Sprites(size=32), Sprites(antialias=True), Sprites(grid={"x": 4}), Sprites(grid={"y": 4})]
    assert len({variant.fingerprint for variant in variants}) == len(variants)
    assert Sprites(grid={"x": 32}).fingerprint == Sprites().fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "must be in 8 to 256"),
        ({"size": "big"}, "must be in 8 to 256"),
        ({"grid": {"colour": 2}}, "is no factor"),
        ({"grid": {"x": 33}}, "must be 1 to 32"),
        ({"grid": {"x": 0}}, "must be 1 to 32"),
        ({"grid": {"x": [3, 32]}}, "is no level"),
        ({"grid": {"x": [3, 3]}}, "each once"),
        ({"grid": {"x": "all"}}, "number or a list"),
        ({"sise": 32}, "did you mean 'size'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("sprites", **options)


@pytest.mark.parametrize("bad", [[-1], [737_280]])
def test_indices_outside_are_refused(bad: list[int]) -> None:
    with pytest.raises(IndexError, match="outside 0 to 737279"):
        Sprites().images(bad)
