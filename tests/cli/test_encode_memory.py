"""Encoding a folder of pictures takes no more memory for many of them than for few."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pbt_disent.cli import main
from pbt_disent.models import LatentModel, build
from tests.objectives import options_of

SIDE = 64
STATUS = Path("/proc/self/status")


class Peak:
    """The most memory that the process has for itself while the block runs, files that it maps left out."""

    def __enter__(self) -> Peak:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("RssAnon"))
            self.bytes = max(self.bytes, 1024 * int(line.split()[1]))


def save_model(folder: Path) -> Path:
    shape = (3, SIDE, SIDE)
    chosen = options_of("betatcvae", shape, network={"width": 4}, latents=4)
    LatentModel(build(chosen, chosen.defaults, shape, 100)).save(folder)
    return folder


def write_pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    for number in range(count):
        Image.fromarray(np.roll(noise, number, axis=1)).save(folder / f"{number:05}.png", compress_level=0)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="measured as Linux does")
def test_many_pictures_need_no_more_memory_than_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PBT_DISENT_CACHE", str(tmp_path / "cache"))
    model, peaks = save_model(tmp_path / "model"), []
    for name, count in (("warm", 1500), ("few", 1500), ("many", 6000)):
        pictures, table = write_pictures(tmp_path / name, count), tmp_path / f"{name}.parquet"
        with Peak() as peak:
            assert main(["encode", str(model), "--data", str(pictures), "--out", str(table)]) == 0
        assert pq.read_metadata(table).num_rows == count
        peaks.append(peak.bytes)
    images = 6000 * 3 * SIDE * SIDE
    assert peaks[2] - peaks[1] < images / 2, f"{peaks} bytes; the images are {images}"
