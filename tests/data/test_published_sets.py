"""The field's sets, on small files written here in the true formats, byte for byte."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import io

from pbt_disent.data import load, reader_of
from pbt_disent.data.base import ImageData
from pbt_disent.data.readers.shapes3d import GRID as SHAPES3D
from pbt_disent.data.readers.shapes3d import levels_of
from pbt_disent.errors import UserError

random = np.random.default_rng


def dsprites_arrays(count: int) -> dict[str, Any]:
    rng = random(1)
    classes = np.stack([rng.integers(0, size, count) for size in (1, 3, 6, 40, 32, 32)], axis=1)
    images = rng.integers(0, 2, (count, 64, 64)).astype(np.uint8)
    return {"imgs": images, "latents_classes": classes, "latents_values": classes.astype(np.float64)}


def write_dsprites_npz(path: Path, count: int = 12) -> dict[str, Any]:
    arrays = dsprites_arrays(count)
    np.savez_compressed(path, metadata=np.array({"title": "dSprites"}, dtype=object), **arrays)
    return arrays


def write_dsprites_h5(path: Path, count: int = 12) -> dict[str, Any]:
    arrays = dsprites_arrays(count)
    with h5py.File(path, "w") as file:
        file.create_dataset("imgs", data=arrays["imgs"], compression="gzip", chunks=(5, 64, 64))
        file["latents/classes"] = arrays["latents_classes"]
        file["latents/values"] = arrays["latents_values"]
    return arrays


@pytest.mark.parametrize(("name", "write"), [("d.npz", write_dsprites_npz), ("d.hdf5", write_dsprites_h5)])
def test_dsprites(tmp_path: Path, name: str, write: Callable[[Path], dict[str, Any]]) -> None:
    arrays = write(tmp_path / name)
    data = load(tmp_path / name)
    assert (data.name, data.shape, len(data)) == ("dsprites", (1, 64, 64), 12)
    assert data.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert data.factor_sizes == (3, 6, 40, 32, 32)
    indices = [11, 0, 3, 4, 3]
    np.testing.assert_array_equal(data.images(indices)[:, 0], arrays["imgs"][indices] * 255)
    np.testing.assert_array_equal(data.factors(indices), arrays["latents_classes"][indices, 1:])
    pickled = pickle.dumps(data)
    assert len(pickled) < 5000
    np.testing.assert_array_equal(pickle.loads(pickled).images(indices), data.images(indices))


def test_dsprites_metadata_is_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return pytest.fail, ("unpickled",)

    np.savez(tmp_path / "d.npz", metadata=np.array(Trap(), dtype=object), **dsprites_arrays(4))
    assert load(tmp_path / "d.npz").images([0]).shape == (1, 1, 64, 64)


def test_the_whole_of_dsprites_is_labelled_by_arithmetic(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_dataset("imgs", (737_280, 2, 2), "u1", compression="gzip", chunks=(4096, 2, 2))
        file["latents/classes"] = np.zeros((2, 6))
    check_published_counts(load(tmp_path / "d.h5"), (3, 6, 40, 32, 32))


def test_color_and_noisy_dsprites_depend_on_the_index_alone(tmp_path: Path) -> None:
    arrays = write_dsprites_npz(tmp_path / "d.npz")
    white = arrays["imgs"].astype(bool)
    color, noisy = (load(tmp_path / "d.npz", variant=name) for name in ("color", "noisy"))
    assert color.shape == noisy.shape == (3, 64, 64)
    everything = np.arange(12)
    for data in (color, noisy):
        np.testing.assert_array_equal(data.images(everything)[[7, 2]], data.images([7, 2]))
        np.testing.assert_array_equal(data.factors(everything), arrays["latents_classes"][:, 1:])
    coloured = color.images(everything).transpose(1, 0, 2, 3)
    assert (coloured[:, ~white] == 0).all()
    assert coloured[:, white].min() >= 127
    colours = np.array([channel[0][white[0]] for channel in coloured])
    assert (colours == colours[:, :1]).all()
    assert len({tuple(coloured[:, i][:, white[i]][:, 0]) for i in range(12)}) == 12
    noise = noisy.images(everything).transpose(1, 0, 2, 3)
    assert (noise[:, white] == 255).all()
    assert noise[:, ~white].mean() == pytest.approx(127.5, abs=1.5)
    assert np.corrcoef(noise[0][~white], noise[1][~white])[0, 1] == pytest.approx(0, abs=0.02)
    assert len({data.fingerprint for data in (color, noisy, load(tmp_path / "d.npz"))}) == 3


def write_shapes3d(path: Path, indices: np.ndarray, side: int = 64) -> np.ndarray:
    ids = SHAPES3D.factors(indices)
    low, high = np.array([0, 0, 0, 0.75, 0, -30]), np.array([0.9, 0.9, 0.9, 1.25, 3, 30])
    labels = np.stack([np.linspace(low[k], high[k], size)[ids[:, k]] for k, size in enumerate(SHAPES3D.sizes)], axis=1)
    images = random(2).integers(0, 256, (len(indices), side, side, 3)).astype(np.uint8)
    with h5py.File(path, "w") as file:
        file["images"], file["labels"] = images, labels
    return images


def test_shapes3d(tmp_path: Path) -> None:
    indices = np.arange(0, 480_000, 20_011)
    images = write_shapes3d(tmp_path / "3dshapes.h5", indices)
    data = load(tmp_path / "3dshapes.h5")
    assert (data.name, data.shape) == ("shapes3d", (3, 64, 64))
    np.testing.assert_array_equal(data.images([5, 1]), images[[5, 1]].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(data.factors(np.arange(len(indices))), SHAPES3D.factors(indices))


def test_every_level_of_scale_survives_its_floating_point_value() -> None:
    values = np.zeros((8, 6))
    values[:, 3] = np.linspace(0.75, 1.25, 8)
    values[:, 5] = -30
    np.testing.assert_array_equal(levels_of(values)[:, 3], np.arange(8))
    values[0, 3] = 0.79
    with pytest.raises(UserError, match="between two levels"):
        levels_of(values)


def test_the_whole_of_shapes3d_is_labelled_by_arithmetic(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "3dshapes.h5", "w") as file:
        file.create_dataset("images", (480_000, 1, 1, 3), "u1", compression="gzip")
        file.create_dataset("labels", (480_000, 6), "f8", compression="gzip")
    check_published_counts(load(tmp_path / "3dshapes.h5"), (10, 10, 10, 8, 4, 15))


@pytest.mark.parametrize(
    ("length", "sizes"), [(1_036_800, (6, 6, 2, 3, 3, 40, 40)), (460_800, (4, 4, 2, 3, 3, 40, 40))]
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_mpi3d_is_told_by_its_length(
    tmp_path: Path, length: int, sizes: tuple[int, ...], save: Callable[..., None]
) -> None:
    images = np.zeros((length, 2, 2, 3), dtype=np.uint8)
    images[-1, 1, 0] = [1, 2, 3]
    save(tmp_path / "mpi3d.npz", images=images)
    data = load(tmp_path / "mpi3d.npz")
    assert data.name == ("mpi3d" if length == 1_036_800 else "mpi3d-complex")
    np.testing.assert_array_equal(data.images([length - 1])[0, :, 1, 0], [1, 2, 3])
    check_published_counts(data, sizes)


def check_published_counts(data: ImageData, sizes: tuple[int, ...]) -> None:
    """Every factor has its published number of values, each as often as the others, the last factor fastest."""
    assert data.factor_sizes == sizes
    ids = data.factors(np.arange(len(data)))
    assert ids is not None
    for k, size in enumerate(sizes):
        np.testing.assert_array_equal(np.bincount(ids[:, k]), np.full(size, len(data) // size))
    np.testing.assert_array_equal(ids[1], np.eye(len(sizes), dtype=int)[-1])


def norb_bytes(array: np.ndarray) -> bytes:
    """A binary matrix: magic, dimensions, at least three lengths, values, all little-endian."""
    magic = {"u1": b"\x55\x4c\x3d\x1e", "i4": b"\x54\x4c\x3d\x1e"}[array.dtype.str[1:]]
    lengths = [*array.shape, 1, 1][: max(3, array.ndim)]
    return magic + struct.pack(f"<{1 + len(lengths)}i", array.ndim, *lengths) + array.tobytes()


def write_norb(folder: Path, half: str, instances: tuple[int, ...], packed: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = random(len(half))
    labels = np.array(
        [(c, i, e, a, li) for c in range(5) for i in instances for e in (0, 8) for a in (0, 34) for li in (5,)]
    )
    labels = labels[rng.permutation(len(labels))].astype(np.int32)
    images = rng.integers(0, 256, (len(labels), 2, 96, 96)).astype(np.uint8)
    for kind, array in (("dat", images), ("cat", labels[:, 0]), ("info", labels[:, 1:])):
        content = norb_bytes(np.ascontiguousarray(array))
        name = f"smallnorb-5x46789x9x18x6x2x96x96-{half}-{kind}.mat"
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return images, labels


@pytest.mark.parametrize("packed", [False, True])
def test_smallnorb(tmp_path: Path, packed: bool) -> None:
    testing, testing_labels = write_norb(tmp_path, "testing", (0, 1, 2, 3, 5), packed)
    training, _ = write_norb(tmp_path, "training", (4, 6, 7, 8, 9), packed)
    both = load(tmp_path)
    assert both.factor_names == ("category", "instance", "elevation", "azimuth", "lighting")
    assert both.factor_sizes == (5, 10, 2, 2, 1)
    indices = [199, 3, 100, 99]
    np.testing.assert_array_equal(both.images(indices)[:, 0], np.concatenate([testing, training])[indices, 0])
    one = load(next(tmp_path.glob("*testing-dat*")), camera=1)
    assert one.factor_sizes == (5, 5, 2, 2, 1)
    np.testing.assert_array_equal(one.images([7])[0, 0], testing[7, 1])
    ids = one.factors(np.arange(100))
    assert ids is not None
    np.testing.assert_array_equal(ids[:, 0], testing_labels[:, 0])
    np.testing.assert_array_equal(ids[:, 1], np.searchsorted([0, 1, 2, 3, 5], testing_labels[:, 1]))
    np.testing.assert_array_equal(ids[:, 3], testing_labels[:, 3] // 34)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(both)).images(indices), both.images(indices))


def test_smallnorb_without_or_with_broken_labels(tmp_path: Path) -> None:
    write_norb(tmp_path, "training", (4,), packed=False)
    info = next(tmp_path.glob("*-info.mat"))
    whole = info.read_bytes()
    for content, message in ((whole[:-4], "truncated or no smallNORB matrix"), (b"", "truncated or no smallNORB")):
        info.write_bytes(content)
        with pytest.raises(UserError, match=message):
            load(tmp_path)
    info.unlink()
    with pytest.raises(UserError, match="has no -info file beside it"):
        load(tmp_path)


def test_cars3d_labels_follow_the_order_of_the_mesh(tmp_path: Path) -> None:
    meshes = []
    for car in range(3):
        mesh = np.zeros((16, 16, 3, 24, 4), dtype=np.uint8)
        mesh[0, 0, 0] = car
        mesh[0, 0, 1] = np.arange(24)[:, None]
        mesh[0, 0, 2] = np.arange(4)
        mesh[1:] = random(car).integers(0, 256, mesh[1:].shape)
        meshes.append(mesh)
        io.savemat(tmp_path / f"car_{car:03d}_mesh.mat", {"im": mesh}, do_compression=True)
    data = load(tmp_path)
    assert (data.name, data.shape, data.factor_sizes) == ("cars3d", (3, 16, 16), (3, 24, 4))
    everything = np.arange(3 * 24 * 4)
    images = data.images(everything)
    np.testing.assert_array_equal(images[:, :, 0, 0], data.factors(everything))
    np.testing.assert_array_equal(images[200], meshes[2][:, :, :, 2, 0].transpose(2, 0, 1))
    np.testing.assert_array_equal(data.images([200, 3]), images[[200, 3]])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("reader", ["dsprites", "mpi3d", "arrays"])
def test_a_broken_npz_is_refused(tmp_path: Path, content: bytes, reader: str) -> None:
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(UserError, match="empty"):
        load(tmp_path / "d.npz", reader=reader)


def test_damage_inside_a_compressed_npz_is_found(tmp_path: Path, cache: Path) -> None:
    write_dsprites_npz(tmp_path / "d.npz")
    content = bytearray((tmp_path / "d.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(UserError, match="is damaged in"):
        load(tmp_path / "d.npz")
    assert list(cache.iterdir()) == []


def test_a_part_of_a_set_with_strange_labels_is_refused(tmp_path: Path) -> None:
    arrays = dsprites_arrays(5)
    arrays["latents_classes"][3, 2] = 6
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UserError, match="go beyond the published"):
        load(tmp_path / "d.npz")
    arrays["latents_classes"] = arrays["latents_classes"][:4] * 0
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UserError, match="for 5 images"):
        load(tmp_path / "d.npz")


def test_published_sets_are_told_apart(tmp_path: Path) -> None:
    write_dsprites_npz(tmp_path / "a.npz")
    write_dsprites_h5(tmp_path / "b.h5")
    write_shapes3d(tmp_path / "c.h5", np.arange(4))
    assert [reader_of(tmp_path / name) for name in ("a.npz", "b.h5", "c.h5")] == ["dsprites", "dsprites", "shapes3d"]


def test_any_set_is_resized_on_request(tmp_path: Path) -> None:
    arrays = write_dsprites_npz(tmp_path / "d.npz")
    arrays["imgs"][:] = np.kron(np.eye(2), np.ones((32, 32)))
    np.savez(tmp_path / "d.npz", **arrays)
    small = load(tmp_path / "d.npz", size=16)
    assert small.shape == (1, 16, 16)
    image = small.images([3])[0, 0].astype(int)
    np.testing.assert_allclose(image[:6, :6], 255, atol=20)
    np.testing.assert_allclose(image[:6, 10:], 0, atol=20)
    with pytest.raises(UserError, match="must be in 8 to 1024"):
        load(tmp_path / "d.npz", size=0)
