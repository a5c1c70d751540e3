"""Folders and parquet files of encoded pictures."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pbt_disent.data import first_picture, load
from pbt_disent.data.pictures import ConvertedPictures
from pbt_disent.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3)).astype(np.uint8)
GREY = RGB[..., 0]


def encoded(image: np.ndarray, kind: str = "png", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def write_folder(path: Path, images: np.ndarray = RGB) -> Path:
    (path / "deep" / "er").mkdir(parents=True)
    for number, image in enumerate(images):
        folder = (path, path / "deep", path / "deep" / "er")[number % 3]
        (folder / f"{number}.png").write_bytes(encoded(image))
    (path / "readme.txt").write_text("not a picture")
    (path / ".hidden.png").write_text("not a picture")
    return path


ORDER = ["0.png", "3.png", "deep/1.png", "deep/4.png", "deep/er/2.png", "deep/er/5.png"]


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path))
    assert isinstance(data, ConvertedPictures)
    assert (data.name, data.shape, data.files) == (tmp_path.name, (3, 12, 12), tuple(ORDER))
    np.testing.assert_array_equal(data.images(np.arange(6)), RGB[[0, 3, 1, 4, 2, 5]].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(data)).array, data.array)


def test_all_grey_pictures_make_grey_images(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path, GREY))
    assert data.shape == (1, 12, 12)
    np.testing.assert_array_equal(data.images([1])[0, 0], GREY[3])
    (tmp_path / "z.png").write_bytes(encoded(RGB[0]))
    assert load(tmp_path).shape == (3, 12, 12)


@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "webp"])
def test_every_format_is_read(tmp_path: Path, kind: str) -> None:
    smooth = np.broadcast_to(np.linspace(0, 255, 16).astype(np.uint8)[:, None, None], (16, 16, 3))
    for number in range(2):
        (tmp_path / f"{number}.{kind.upper()}").write_bytes(encoded(np.ascontiguousarray(smooth), kind))
    np.testing.assert_allclose(load(tmp_path).images([1])[0].astype(int), smooth.transpose(2, 0, 1), atol=12)


def test_pictures_are_cut_to_the_middle_and_resized(tmp_path: Path) -> None:
    wide = np.zeros((16, 40, 3), dtype=np.uint8)
    wide[:, 12:28] = 200
    (tmp_path / "wide.png").write_bytes(encoded(wide))
    (tmp_path / "high.png").write_bytes(encoded(wide.transpose(1, 0, 2).copy()))
    with pytest.raises(UserError, match=r"wide.png: is 40 x 16, the first one 16 x 40; set for example size"):
        load(tmp_path)
    data = load(tmp_path, size=8)
    assert data.shape == (3, 8, 8)
    np.testing.assert_array_equal(data.images([0, 1]), 200)


def test_transparency_exif_and_depth_are_minded(tmp_path: Path) -> None:
    clear = np.full((8, 8, 4), 255, dtype=np.uint8)
    clear[:, :4, 3] = 0
    (tmp_path / "0.png").write_bytes(encoded(clear))
    upright = np.zeros((8, 8, 3), dtype=np.uint8)
    upright[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "1.png").write_bytes(encoded(upright, exif=exif))
    (tmp_path / "2.png").write_bytes(encoded((GREY[0, :8, :8].astype(np.uint16) << 8) | 7))
    images = load(tmp_path).images([0, 1, 2])
    assert (images[0, :, :, :4] == 0).all()
    assert (images[0, :, :, 4:] == 255).all()
    assert (images[1, :, :, 4:] == 255).all()
    assert (images[1, :, :, :4] == 0).all()
    np.testing.assert_array_equal(images[2, 0], GREY[0, :8, :8])


def test_pictures_are_converted_once_until_one_changes(tmp_path: Path, cache: Path) -> None:
    first = load(write_folder(tmp_path))
    again = load(tmp_path)
    assert isinstance(first, ConvertedPictures)
    assert isinstance(again, ConvertedPictures)
    assert (again.folder, again.fingerprint) == (first.folder, first.fingerprint)
    (tmp_path / "3.png").write_bytes(encoded(RGB[5]))
    changed = load(tmp_path)
    assert changed.fingerprint != first.fingerprint
    np.testing.assert_array_equal(changed.images([1]), RGB[[5]].transpose(0, 3, 1, 2))
    assert load(tmp_path, size=8).fingerprint != changed.fingerprint


def test_a_damaged_store_is_converted_again(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path))
    assert isinstance(data, ConvertedPictures)
    for damaged in data.folder.iterdir():
        damaged.write_bytes(damaged.read_bytes()[:-9])
        np.testing.assert_array_equal(load(tmp_path).images([1]), RGB[[3]].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("damage", [b"", b"not a picture", encoded(RGB[0])[:200]])
def test_a_corrupt_picture_is_named_or_skipped(tmp_path: Path, cache: Path, damage: bytes) -> None:
    (write_folder(tmp_path) / "deep" / "4.png").write_bytes(damage)
    with pytest.raises(UserError, match=r"picture deep/4.png: cannot be read.*on_corrupt=skip"):
        load(tmp_path)
    assert not list(cache.rglob("*.npy"))
    data = load(tmp_path, on_corrupt="skip")
    assert isinstance(data, ConvertedPictures)
    assert (data.skipped, len(data)) == (("deep/4.png",), 5)
    np.testing.assert_array_equal(data.images([3]), RGB[[2]].transpose(0, 3, 1, 2))
    with pytest.raises(UserError, match="'refuse' or 'skip'"):
        load(tmp_path, on_corrupt="ignore")


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match=r"picture gone.png: cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("on_corrupt", ["refuse", "skip"])
def test_whoever_waits_sees_the_conversion_advance_once(tmp_path: Path, on_corrupt: str) -> None:
    folder = write_folder(tmp_path)
    if on_corrupt == "skip":
        (folder / "0.png").write_bytes(b"")
    reports: list[tuple[int, int]] = []
    load(folder, lambda done, total: reports.append((done, total)), on_corrupt=on_corrupt)
    assert [done for done, _ in reports][:6] == [1, 2, 3, 4, 5, 6]
    assert reports[-1] == ((12, 12) if on_corrupt == "refuse" else (11, 11))
    reports.clear()
    load(folder, lambda done, total: reports.append((done, total)), on_corrupt=on_corrupt)
    assert reports == []
    with pytest.raises(UserError, match="option 'progress': is no option of reader folder"):
        load(folder, **{"progress": 1})


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_the_first_picture_is_looked_at_without_converting_any(tmp_path: Path, cache: Path, kind: str) -> None:
    source = write_folder(tmp_path / "folder")
    if kind == "parquet":
        source = tmp_path / "some.parquet"
        pq.write_table(pa.table({"picture": [encoded(image) for image in RGB]}), source)
    header = first_picture(source, on_corrupt="refuse")
    assert header is not None
    assert (header.height, header.width, header.is_grey) == (12, 12, False)
    assert not list(cache.rglob("*.npy"))
    assert first_picture("sprites") is None


def test_a_single_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(encoded(RGB[0]))
    for given in (tmp_path, tmp_path / "one.png"):
        with pytest.raises(UserError, match="at least two"):
            load(given)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="in no known format"):
        load(tmp_path)
    with pytest.raises(UserError, match="holds no pictures"):
        load(tmp_path, reader="folder")


@pytest.mark.parametrize("nested", [False, True])
def test_parquet(tmp_path: Path, nested: bool) -> None:
    contents = [encoded(image) for image in RGB]
    column = [{"bytes": content, "path": None} for content in contents] if nested else contents
    pq.write_table(pa.table({"image": column, "label": list("abcabc")}), tmp_path / "my.parquet", row_group_size=4)
    data = load(tmp_path / "my.parquet")
    np.testing.assert_array_equal(data.images([5, 0]), RGB[[5, 0]].transpose(0, 3, 1, 2))
    labelled = load(tmp_path / "my.parquet", labels=tmp_path / "my.parquet", column="image")
    assert labelled.factor_names == ("label",)
    np.testing.assert_array_equal(labelled.factors([4, 2]), [[1], [2]])


def test_parquet_without_pictures_and_with_an_empty_cell(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), tmp_path / "none.parquet")
    with pytest.raises(UserError, match=r"no single column of pictures.*known: a, b"):
        load(tmp_path / "none.parquet")
    pq.write_table(pa.table({"a": [encoded(RGB[0]), None, encoded(RGB[2])]}), tmp_path / "gap.parquet")
    with pytest.raises(UserError, match=r"picture gap.parquet\[1\]"):
        load(tmp_path / "gap.parquet")
    assert len(load(tmp_path / "gap.parquet", on_corrupt="skip")) == 2
    with pytest.raises(UserError, match="holds no pictures as bytes; known: a"):
        load(tmp_path / "gap.parquet", column="b")
    (tmp_path / "gap.parquet").write_bytes((tmp_path / "gap.parquet").read_bytes()[:-20])
    with pytest.raises(UserError, match="truncated or no parquet"):
        load(tmp_path / "gap.parquet")
