"""Images in npy, npz and HDF5: any layout and range that is clear, one clear error for anything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pbt_disent.data import load
from pbt_disent.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 10)).astype(np.uint8)
GREY = IMAGES[:, 0]


def save_npy(path: Path, images: Any) -> Path:
    np.save(path / "my.npy", images)
    return path / "my.npy"


def save_npz(path: Path, images: Any) -> Path:
    np.savez(path / "my.npz", pictures=images, other=np.arange(6))
    return path / "my.npz"


def save_packed(path: Path, images: Any) -> Path:
    np.savez_compressed(path / "my.npz", pictures=images, other=np.arange(6))
    return path / "my.npz"


def save_h5(path: Path, images: Any) -> Path:
    with h5py.File(path / "my.h5", "w") as file:
        file["deep/pictures"], file["other"] = images, np.arange(6)
    return path / "my.h5"


Save = Callable[[Path, Any], Path]
FORMATS = pytest.mark.parametrize("save", [save_npy, save_npz, save_packed, save_h5])


@FORMATS
@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (IMAGES, IMAGES),
        (IMAGES.transpose(0, 2, 3, 1), IMAGES),
        (np.asfortranarray(IMAGES), IMAGES),
        (GREY, GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (IMAGES > 127, 255 * (IMAGES > 127)),
        ((IMAGES > 127).astype(np.uint8), 255 * (IMAGES > 127)),
        ((IMAGES / 255.0).astype(np.float32), IMAGES),
        (IMAGES / 255.0, IMAGES),
        (IMAGES.astype(np.float64), IMAGES),
        (IMAGES.astype(np.int64), IMAGES),
        (IMAGES.astype(">u2"), IMAGES),
    ],
    ids=["chw", "hwc", "fortran", "hw", "hw1", "bool", "binary", "float32", "unit", "float", "int64", "big-endian"],
)
def test_layouts_and_ranges_are_recognised(
    tmp_path: Path, save: Save, images: np.ndarray, expected: np.ndarray
) -> None:
    data = load(save(tmp_path, images))
    assert data.shape == expected.shape[1:]
    assert data.factors([0]) is None
    images = data.images([4, 0, 4])
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, expected[[4, 0, 4]])


@FORMATS
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.where(IMAGES > 250, np.nan, IMAGES / 255.0), "NaN"),
        (IMAGES / 100.0 - 1.0, "values from -1"),
        (IMAGES.astype(np.int64) + 1, "to 256"),
        (GREY[0], "not N x H x W"),
        (IMAGES[0], "3 x 8 x 10, as a single image has"),
        (IMAGES[0].transpose(1, 2, 0), "8 x 10 x 3, as a single image has"),
        (IMAGES[:1], "at least two"),
        (IMAGES[:, :0], "at least two"),
        (IMAGES[:, :2], "no axis has 1 or 3 channels"),
        (IMAGES[:, :, :, :3], "which axis is colour"),
        (IMAGES.astype(np.complex64), "not numbers"),
    ],
    ids=[
        "nan",
        "negative",
        "256",
        "one grey",
        "one chw",
        "one hwc",
        "one",
        "none",
        "two channels",
        "ambiguous",
        "complex",
    ],
)
def test_what_is_unclear_is_refused(tmp_path: Path, save: Save, images: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(
            save(tmp_path, images),
            **({} if save is save_npy else {"key": "deep/pictures" if save is save_h5 else "pictures"}),
        )


def test_an_unclear_layout_can_be_declared(tmp_path: Path) -> None:
    path = save_npy(tmp_path, IMAGES[:, :, :, :3])
    np.testing.assert_array_equal(load(path, layout="chw").images([1]), IMAGES[[1], :, :, :3])
    np.testing.assert_array_equal(load(path, layout="hwc").images([1]), IMAGES[[1], :, :, :3].transpose(0, 3, 1, 2))
    with pytest.raises(UserError, match="'hw', 'chw' or 'hwc'"):
        load(path, layout="cwh")
    path = save_npy(tmp_path, GREY[:3])
    np.testing.assert_array_equal(load(path, layout="hw").images([2]), GREY[[2], None])
    with pytest.raises(UserError, match="'chw': does not fit shape 3 x 8 x 10; set hw"):
        load(path, layout="chw")


@pytest.mark.parametrize(
    ("save", "key"), [(save_npz, "pictures"), (save_packed, "pictures"), (save_h5, "deep/pictures")]
)
def test_a_wrong_key_names_the_keys_there_are(tmp_path: Path, save: Save, key: str) -> None:
    path = save(tmp_path, IMAGES)
    with pytest.raises(UserError, match=rf"'{key}'\? known: .*other"):
        load(path, key=key + "s")
    np.testing.assert_array_equal(load(path, key=key).images([2]), IMAGES[[2]])


def test_several_arrays_need_a_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "my.npz", left=IMAGES, right=IMAGES[::-1])
    with pytest.raises(UserError, match="several arrays"):
        load(tmp_path / "my.npz")
    np.testing.assert_array_equal(load(tmp_path / "my.npz", key="right").images([0]), IMAGES[[5]])
    np.savez(tmp_path / "usual.npz", images=IMAGES, right=IMAGES[::-1])
    np.testing.assert_array_equal(load(tmp_path / "usual.npz").images([0]), IMAGES[[0]])


@pytest.mark.parametrize("save", [save_npz, save_packed, save_h5])
def test_labels_in_the_same_file(tmp_path: Path, save: Save) -> None:
    data = load(save(tmp_path, IMAGES), factor_key="other")
    assert (data.factor_names, data.factor_sizes) == (("other",), (6,))
    np.testing.assert_array_equal(data.factors([5, 1]), [[5], [1]])


def test_one_number_is_no_array_of_labels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "my.h5", "w") as file:
        file["images"], file["one"] = IMAGES, 3
        file["none"] = h5py.Empty("f")
    assert len(load(tmp_path / "my.h5")) == len(IMAGES)
    for key in ("one", "none"):
        with pytest.raises(UserError, match="have 0 dimensions"):
            load(tmp_path / "my.h5", factor_key=key)


def test_labels_of_another_length_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "my.npz", images=IMAGES, labels=np.arange(5))
    with pytest.raises(UserError, match="are 5 for 6 images"):
        load(tmp_path / "my.npz", factor_key="labels")


@pytest.mark.parametrize("save", [save_npy, save_npz, save_packed])
def test_a_pickled_array_is_refused(tmp_path: Path, save: Save) -> None:
    path = save(tmp_path, np.array([None] * 6, dtype=object))
    with pytest.raises(UserError, match=r"pickled|no array of images"):
        load(path)
    with pytest.raises(UserError, match="pickled array, which is never loaded"):
        load(path, **({} if save is save_npy else {"key": "pictures"}))


@FORMATS
@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_truncated_or_empty_file_is_refused(tmp_path: Path, save: Save, kept: float) -> None:
    path = save(tmp_path, IMAGES)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"truncated|empty"):
        load(path)


@FORMATS
def test_fingerprints_follow_the_content(tmp_path: Path, save: Save) -> None:
    first = load(save(tmp_path, IMAGES)).fingerprint
    assert load(save(tmp_path, IMAGES)).fingerprint == first or save is save_h5
    assert load(save(tmp_path, IMAGES[::-1])).fingerprint != first


def test_a_packed_array_is_unpacked_once(tmp_path: Path, cache: Path) -> None:
    path = save_packed(tmp_path, IMAGES)
    load(path)
    (unpacked,) = cache.iterdir()
    before = unpacked.stat().st_mtime_ns
    np.testing.assert_array_equal(load(path).images([3]), IMAGES[[3]])
    assert [unpacked] == list(cache.iterdir())
    assert unpacked.stat().st_mtime_ns == before


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written.*PBT_DISENT_CACHE"):
        load(save_packed(tmp_path, IMAGES), cache=tmp_path / "file")


def test_unknown_formats_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no images")
    with pytest.raises(UserError, match=r"in no known format; give one of these .*dSprites"):
        load(tmp_path / "notes.txt")
    with pytest.raises(UserError, match="did you mean 'sprites'"):
        load("sprits")
    with pytest.raises(UserError, match="is no option of reader arrays"):
        load(save_npy(tmp_path, IMAGES), keey="x")
    with pytest.raises(UserError, match="no known reader"):
        load(save_npy(tmp_path, IMAGES), reader="array")
