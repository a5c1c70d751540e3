"""Readers and worlds as components: each owns its options, and one from elsewhere is as good as the package's own."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from pbt_disent.data import READERS, WORLDS, load
from pbt_disent.data.array_images import ArrayImages
from pbt_disent.data.base import ImageData, Indices, as_indices
from pbt_disent.data.grid import FactorGrid
from pbt_disent.data.loading import ViewOptions
from pbt_disent.data.readers import Match, Reader
from pbt_disent.data.worlds import World
from pbt_disent.errors import UserError
from pbt_disent.registry import Registry
from pbt_disent.types import UInt8Array


@pytest.fixture
def clean_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (READERS, WORLDS):
        assert list(registry)
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.mark.parametrize("registry", [READERS, WORLDS], ids=["reader", "world"])
def test_every_option_is_described(registry: Registry[type[Reader]] | Registry[type[World]]) -> None:
    for model in (ViewOptions, *(registry.options(name) for name in registry)):
        assert all(field.description for field in model.model_fields.values())
        assert model.__doc__


class Stripes(World):
    """Horizontal stripes: how many, and how bright."""

    full_grid = FactorGrid.full({"count": 4, "brightness": 3})
    channels = 1

    thickness: int = Field(1, ge=1, le=4, description="The thickness of a stripe in pixels.")

    def images(self, indices: Indices) -> UInt8Array:
        levels = self.factor_grid.published(as_indices(indices, len(self)))
        images = np.zeros((len(levels), *self.shape), dtype=np.uint8)
        for image, (count, brightness) in zip(images, levels.tolist(), strict=True):
            for stripe in range(count + 1):
                image[0, stripe * 5 : stripe * 5 + self.thickness] = 80 * (brightness + 1)
        return images


@pytest.mark.usefixtures("clean_registries")
def test_a_world_from_elsewhere_has_options_and_an_identity() -> None:
    WORLDS.register("stripes")(Stripes)
    stripes = load("stripes", size=24, grid={"brightness": [2]}, thickness=2)
    assert (stripes.name, stripes.shape, stripes.factor_sizes) == ("stripes", (1, 24, 24), (4, 1))
    assert (stripes.images([3])[0, 0, :, 0] == 240).sum() == 8
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stripes)).images([1, 2]), stripes.images([1, 2]))
    variants: list[dict[str, object]] = [{}, {"thickness": 2}, {"size": 32}, {"grid": {"count": 2}}]
    assert len({load("stripes", **options).fingerprint for options in variants}) == len(variants)
    with pytest.raises(UserError, match="thickness=9: must be in 1 to 4; the default is 1"):
        load("stripes", thickness=9)
    with pytest.raises(UserError, match=r"'thicknes': is no option of world stripes; did you mean 'thickness'"):
        load("stripes", thicknes=2)


class RawBytes(Reader):
    """Square grey images, byte by byte."""

    formats = "raw bytes"

    side: int = Field(8, ge=1, le=64, description="The height and width of an image in the file.")

    @classmethod
    def match(cls, path: Path) -> Match:
        return Match.FORMAT if path.suffix == ".raw" else Match.NO

    def read(self, path: Path) -> ImageData:
        return ArrayImages("raw", "0" * 64, _Rows(path, self.side))


class _Rows:
    def __init__(self, path: Path, side: int) -> None:
        self._array = np.fromfile(path, np.uint8).reshape(-1, side, side)
        self.shape, self.dtype = self._array.shape, self._array.dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self._array[indices]


@pytest.mark.usefixtures("clean_registries")
def test_a_reader_from_elsewhere_is_asked_by_its_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.raw"
    path.write_bytes(bytes(range(256)) * 2)
    with pytest.raises(UserError, match="in no known format"):
        load(path)
    READERS.register("raw")(RawBytes)
    assert load(path).shape == (1, 8, 8)
    assert load(path, side=16).images([1])[0, 0, 0].tolist() == list(range(16))
    assert load(path, side=4, size=8).shape == (1, 8, 8)
    with pytest.raises(UserError, match=r"'sides': is no option of reader raw; did you mean 'side'.*side, size"):
        load(path, sides=2)
