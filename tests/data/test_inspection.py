"""What `data info` and `data verify` say of sound and of damaged sets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pytest
from PIL import Image

from pbt_disent.data import load as load_data
from pbt_disent.data import materialise
from pbt_disent.data.inspection import Finding, info, published_files, verify
from pbt_disent.data.readers import PublishedFile
from pbt_disent.data.readers.arrays import Arrays
from pbt_disent.data.readers.shapes3d import GRID
from pbt_disent.errors import UserError

SMALL = {"scale": 2, "orientation": 2, "x": 4, "y": 4}


def texts(findings: list[Finding], level: str) -> str:
    return "\n".join(finding.text for finding in findings if finding.level == level)


def test_info_of_a_world() -> None:
    description = info("sprites", size=16, grid=SMALL)
    assert json.loads(json.dumps(description)) == description
    assert description["factors"] == {"shape": 3, "scale": 2, "orientation": 2, "x": 4, "y": 4}
    size = {"images": 192, "channels": 1, "height": 16, "width": 16}
    assert {key: description[key] for key in size} == size
    assert description["reader"] is None
    assert description["bytes"] == 192 * 256


def test_info_of_a_file_names_its_reader_and_conversion(tmp_path: Path) -> None:
    np.save(tmp_path / "my.npy", np.linspace(0, 1, 4 * 8 * 8 * 3).reshape(4, 8, 8, 3))
    description = info(tmp_path / "my.npy")
    details = {"reader": "arrays", "layout": "hwc", "stretch": 255, "factors": {}}
    assert {key: description[key] for key in details} == details
    materialise(load_data("sprites", size=8, grid=SMALL), tmp_path / "store")
    assert info(tmp_path / "store")["reader"] == "stored"
    with pytest.raises(UserError, match="neither a world nor a file"):
        info(tmp_path / "none.npy")


def test_a_sound_set_has_notes_only() -> None:
    reports: list[tuple[int, int]] = []
    findings = verify("sprites", lambda *at: reports.append(at), size=16, grid=SMALL)
    assert {finding.level for finding in findings} == {"note"}
    assert "factor x: 4 values, 48 images each" in texts(findings, "note")
    assert "192 images of 1 x 16 x 16, values 0 to 255" in texts(findings, "note")
    assert reports[-1] == (192, 192)


def write_shapes3d(path: Path, wrong: bool) -> None:
    ids = GRID.factors(np.arange(480_000))
    labels = np.array([0, 0, 0, 0.75, 0, -30]) + ids * np.array([0.1, 0.1, 0.1, 0.5 / 7, 1, 60 / 14])
    if wrong:
        labels[ids[:, 3] == 4, 3] = 0.75 + 3 * 0.5 / 7
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (480_000, 1, 1, 3), "u1")
        images[:] = np.arange(480_000, dtype=np.int64)[:, None, None, None] % [200, 100, 50]
        file["labels"] = labels


@pytest.mark.parametrize("wrong", [False, True])
def test_wrong_labels_in_a_published_set_are_found_and_not_used(tmp_path: Path, wrong: bool) -> None:
    write_shapes3d(tmp_path / "shapes.h5", wrong)
    findings = verify(tmp_path / "shapes.h5")
    assert "factor scale: 8 values, 60,000 images each" in texts(findings, "note")
    expected = "factor scale: the file's own labels of 60,000 images are wrong and are not used"
    assert (expected in texts(findings, "warning")) == wrong


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_published_file_is_known_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: Literal["sha256", "md5"]
) -> None:
    path = tmp_path / "my.npy"
    np.save(path, np.zeros((4, 8, 8), dtype=np.uint8) + np.arange(8, dtype=np.uint8) * 30)
    length, good = path.stat().st_size, hashlib.new(algorithm, path.read_bytes()).hexdigest()
    other = good[::-1]
    for known, level, text in (
        (PublishedFile("someone", good, algorithm, length), "note", "is the published file"),
        (PublishedFile("someone", good, algorithm), "note", "of someone)"),
        (PublishedFile("someone", other, algorithm, length), "error", "is not the published file"),
        (
            PublishedFile("someone", other, algorithm, has_variants=True),
            "warning",
            "differs from the file known by",
        ),
        (PublishedFile("someone", good, algorithm, length + 1), "error", "bytes, the published file"),
    ):
        monkeypatch.setattr(Arrays, "published_files", {"my.npy": known})
        assert text in texts(verify(path), level)


def test_the_published_digests_are_digests() -> None:
    for known in published_files().values():
        assert known.length is None or known.length > 0
        assert len(bytes.fromhex(known.digest)) == {"sha256": 32, "md5": 16}[known.algorithm]
    sets = ("dsprites", "3dshapes", "mpi3d", "smallnorb")
    assert all(any(name.startswith(one) for name in published_files()) for one in sets)


def test_blank_and_faint_images_are_found(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8), dtype=np.uint8)
    for value, level, text in ((0, "error", "every image"), (255, "warning", "3 images are of one colour")):
        images[0, 0, 0] = value
        np.save(tmp_path / "my.npy", images)
        assert text in texts(verify(tmp_path / "my.npy"), level)
    np.save(tmp_path / "my.npy", np.arange(256, dtype=np.uint8).reshape(4, 8, 8) % 10 + 100)
    assert "hardly any contrast" in texts(verify(tmp_path / "my.npy"), "warning")


def test_what_cannot_be_loaded_is_an_error_not_an_exception(tmp_path: Path) -> None:
    np.savez(tmp_path / "my.npz", images=np.full((4, 8, 8), np.nan))
    assert "NaN" in texts(verify(tmp_path / "my.npz"), "error")


def test_skipped_pictures_and_partial_labels_are_reported(tmp_path: Path) -> None:
    for name in "abc":
        Image.radial_gradient("L").resize((8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"broken")
    (tmp_path / "labels.csv").write_text("file,kind\na.png,7\n")
    findings = verify(tmp_path, on_corrupt="skip", labels=tmp_path / "labels.csv")
    assert "1 values, 1 images each, known for 1 of 2 images" in texts(findings, "note")
    assert "left out: b.png" in texts(verify(tmp_path, on_corrupt="skip"), "warning")
    assert info(tmp_path, on_corrupt="skip")["skipped"] == ("b.png",)
