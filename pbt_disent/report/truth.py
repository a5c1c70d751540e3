"""How well a finished model matches the true factors, where the data set knows them. Nothing else may ask for them."""

from __future__ import annotations

import numpy as np

from pbt_disent.data.base import UNKNOWN, ImageData
from pbt_disent.metrics import MIG, MINIMUM_POINTS, interval_ends, interval_over_points, mig
from pbt_disent.models import LatentModel
from pbt_disent.models.codes_table import codes_of
from pbt_disent.types import IntArray, Json

__all__ = ["compare_with_factors", "varying_factors"]

POINTS = 50_000


def compare_with_factors(model: LatentModel, data: ImageData, images: IntArray | None = None) -> Json | None:
    """Return the MIG of each true factor (20 bins, posterior means), or none where it cannot be had.

    That is where the factors are not known, or images are fewer than 20 or than latents. A label that no two images
    share, such as a number of each, is no factor.

    Args:
        model: the finished model.
        data: its images.
        images: which of them; all by default. At most 50,000, by a fixed permutation, are used.

    Returns:
        `mig`, its 95 % `interval` over the images, `points`, and per factor that varies: name, gap (I1 - I2) / H, its
        latent, and the share of its entropy that each latent knows.
    """
    chosen = np.arange(len(data)) if images is None else images
    order = chosen[np.random.default_rng(0).permutation(len(chosen))[:POINTS]]
    factors = data.factors(order)
    if factors is None or len(order) < max(MINIMUM_POINTS, len(model.latents)):
        return None
    varying = [column for column in varying_factors(factors) if len(np.unique(factors[:, column])) < len(order)]
    if not varying:
        return None
    codes = codes_of(model, data, order)
    truth = factors[:, varying]
    result = mig(codes, truth)
    interval = interval_over_points(
        result.score, lambda rows, _: mig(codes[rows[0]], truth[rows[0]]).score, [len(codes)], bounds=MIG.bounds
    )
    shares = result.mutual_information / result.factor_entropy
    return {
        "mig": result.score,
        "interval": interval_ends(interval),
        "points": len(order),
        "per_factor": [
            {
                "factor": data.factor_names[column],
                "gap": float(result.per_factor[index]),
                "latent": int(result.latent_of_factor[index]),
                "shares": [float(share) for share in shares[:, index]],
            }
            for index, column in enumerate(varying)
        ],
    }


def varying_factors(factors: IntArray) -> list[int]:
    """Return the columns of factors (N, K) that are known of every image and have more than one value."""
    return [
        column
        for column in range(factors.shape[1])
        if len(np.unique(factors[:, column])) > 1 and not np.any(factors[:, column] == UNKNOWN)
    ]
