"""The comparison with the true factors: what is compared, and that a set too small or unfit for it ends no run."""

from __future__ import annotations

import numpy as np
import pytest

from pbt_disent.data.base import UNKNOWN, Indices
from pbt_disent.metrics import mig
from pbt_disent.models import LatentModel, build
from pbt_disent.models.export import READ
from pbt_disent.rounds.evaluation import compare_with_factors
from pbt_disent.types import IntArray, UInt8Array
from tests.objectives import options_of

SHAPE = (1, 16, 16)


class Squares:
    """Bright squares of two sizes; each has a number of its own, and a label that is known of some only."""

    name = "squares"
    fingerprint = "0" * 64
    shape = SHAPE
    factor_names = ("size", "number", "partial")
    asked: int = 0

    def __init__(self, length: int) -> None:
        self.length = length
        self.factor_sizes = (2, length, 2)

    def __len__(self) -> int:
        return self.length

    def images(self, indices: Indices) -> UInt8Array:
        indices = np.asarray(indices)
        self.asked = max(self.asked, len(indices))
        images = np.zeros((len(indices), *SHAPE), dtype=np.uint8)
        for image, index in zip(images, indices, strict=True):
            image[:, : 4 + 8 * (index % 2), : 4 + 8 * (index % 2)] = 200
        return images

    def factors(self, indices: Indices) -> IntArray:
        indices = np.asarray(indices, dtype=np.int64)
        return np.stack([indices % 2, indices, np.where(indices == 0, UNKNOWN, indices % 2)], axis=1)


def model(latents: int = 3) -> LatentModel:
    options = options_of("betatcvae", SHAPE, latents=latents, network={"width": 4})
    return LatentModel(build(options, options.defaults, SHAPE, 96))


def test_a_number_of_each_image_and_a_partial_label_are_no_factors() -> None:
    data, trained = Squares(100), model()
    comparison = compare_with_factors(trained, data)
    assert comparison is not None
    assert [row["factor"] for row in comparison["per_factor"]] == ["size"]
    everything = np.arange(100)
    expected = mig(trained.encode(data.images(everything)), data.factors(everything)[:, :1]).score
    assert comparison["mig"] == pytest.approx(expected)
    assert comparison["points"] == 100


@pytest.mark.parametrize(("length", "latents"), [(19, 3), (25, 26)])
def test_too_few_images_are_not_compared(length: int, latents: int) -> None:
    assert compare_with_factors(model(latents), Squares(length)) is None


def test_many_images_are_read_a_few_at_a_time() -> None:
    data = Squares(2 * READ + 10)
    comparison = compare_with_factors(model(), data)
    assert comparison is not None
    assert comparison["points"] == len(data)
    assert data.asked == READ
